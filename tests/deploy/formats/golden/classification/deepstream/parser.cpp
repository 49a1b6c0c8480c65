// Reads the outputs of classification for Gst-nvinfer: made by jetpress from the run classification-orin-nano-0123abcd.
#include <cstring>
#include <iostream>

#include "nvdsinfer_custom_impl.h"
#include "plan.hpp"

namespace {

// The buffer of an output, if the engine's is the one of plan.hpp; one message if not.
const void* output(const std::vector<NvDsInferLayerInfo>& layers, const jetpress::Output& wanted) {
  for (const NvDsInferLayerInfo& one : layers) {
    if (wanted.name != one.layerName) continue;
    bool same = one.inferDims.numDims == wanted.sides.size();
    for (std::size_t at = 0; same && at < wanted.sides.size(); ++at)
      same = static_cast<int>(one.inferDims.d[at]) == wanted.sides[at];
    same = same && one.dataType == (wanted.type == "int32" ? INT32 : FLOAT);
    if (same) return one.buffer;
  }
  static bool said = false;
  if (!said) std::cerr << "classification: the engine is of another network than plan.hpp: no output "
                       << wanted.name << " as it says; run build.sh\n";
  said = true;
  return nullptr;
}

}  // namespace

extern "C" bool JetpressClass(std::vector<NvDsInferLayerInfo> const& layers, NvDsInferNetworkInfo const&,
                              float threshold, std::vector<NvDsInferAttribute>& attributes, std::string& description) {
  static const std::vector<std::string> labels = plan::labels();
  const jetpress::Output first = plan::outputs()[0];
  const void* buffer = output(layers, first);
  if (!buffer) return false;
  const float* scores = static_cast<const float*>(buffer);
  const std::vector<float> shares = jetpress::softmax(scores, first.sides[0]);
  const unsigned best = std::max_element(shares.begin(), shares.end()) - shares.begin();
  const float share = shares[best];
  if (share < threshold || best >= labels.size()) return true;
  NvDsInferAttribute attribute{};
  attribute.attributeIndex = 0;
  attribute.attributeValue = best;
  attribute.attributeConfidence = share;
  attribute.attributeLabel = strdup(labels[best].c_str());  // nvinfer frees it
  attributes.push_back(attribute);
  description.append(labels[best]).append(" ");
  return true;
}

CHECK_CUSTOM_CLASSIFIER_PARSE_FUNC_PROTOTYPE(JetpressClass);

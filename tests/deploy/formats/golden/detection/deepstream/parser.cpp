// Reads the outputs of detection for Gst-nvinfer: made by jetpress from the run detection-orin-nano-0123abcd.
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
  if (!said) std::cerr << "detection: the engine is of another network than plan.hpp: no output "
                       << wanted.name << " as it says; run build.sh\n";
  said = true;
  return nullptr;
}

}  // namespace

extern "C" bool JetpressDetections(std::vector<NvDsInferLayerInfo> const& layers, NvDsInferNetworkInfo const&,
                                   NvDsInferParseDetectionParams const& params,
                                   std::vector<NvDsInferObjectDetectionInfo>& objects) {
  static const jetpress::Rules rules = plan::rules();
  std::vector<jetpress::Tensor> read;
  for (const std::string& name : rules.reads)
    for (const jetpress::Output& one : plan::outputs())
      if (one.name == name) {
        const void* buffer = output(layers, one);
        if (!buffer) return false;
        read.push_back({static_cast<const float*>(buffer), one.sides});
      }
  const std::vector<jetpress::Detection> all = jetpress::detections(read, rules);
  for (const jetpress::Detection& one : all) {
    if (static_cast<unsigned>(one.label) >= params.numClassesConfigured) continue;
    NvDsInferObjectDetectionInfo object{};
    object.classId = one.label;
    object.left = one.x1;
    object.top = one.y1;
    object.width = one.x2 - one.x1;
    object.height = one.y2 - one.y1;
    object.detectionConfidence = one.score;
    objects.push_back(object);
  }
  return true;
}

CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(JetpressDetections);

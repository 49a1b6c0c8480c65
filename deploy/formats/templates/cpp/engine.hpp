// A TensorRT engine with its memory: TensorRT 8.0 to 8.4 by bindings, from 8.5 by names.
#pragma once

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "decode.hpp"

#define JETPRESS_BY_NAME (NV_TENSORRT_MAJOR > 8 || (NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR >= 5))

namespace jetpress {

inline void must(cudaError_t code, const char* what) {
  if (code != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(code));
}

class Log : public nvinfer1::ILogger {
  void log(Severity severity, const char* text) noexcept override {
    if (severity <= Severity::kWARNING) std::cerr << "TensorRT: " << text << "\n";
  }
};

class Engine {
 public:
  // `input` is fed; `outputs` are what plan.json says that it gives, so that an engine of another head is refused.
  Engine(const std::string& path, const std::string& input, std::vector<int> shape, std::size_t bytes,
         const std::vector<Output>& outputs)
      : input_(input), outputs_(outputs) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> plan((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (plan.empty()) throw std::runtime_error(path + " is not there: run build.sh on this machine");
    runtime_.reset(nvinfer1::createInferRuntime(log_));
    engine_.reset(runtime_ ? runtime_->deserializeCudaEngine(plan.data(), plan.size()) : nullptr);
    if (!engine_) throw std::runtime_error(path + " is not for this TensorRT or this GPU: run build.sh here");
    context_.reset(engine_->createExecutionContext());
    must(cudaStreamCreate(&stream_), "a CUDA stream");
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<int>(shape.size());
    for (std::size_t at = 0; at < shape.size(); ++at) dims.d[at] = shape[at];
    const std::vector<std::string> names = tensors();
    require(names, input);
#if JETPRESS_BY_NAME
    context_->setInputShape(input.c_str(), dims);
#else
    context_->setBindingDimensions(index(input), dims);
#endif
    allocate(input, bytes);
    if (names.size() != outputs.size() + 1) throw other(names);
    for (const Output& one : outputs) {
      require(names, one.name);
      const nvinfer1::Dims has = shape_of(one.name);
      bool same = has.nbDims == static_cast<int>(one.sides.size()) + 1;
      std::size_t count = shape[0];
      for (std::size_t at = 0; same && at < one.sides.size(); ++at) {
        same = has.d[at + 1] == one.sides[at];
        count *= one.sides[at];
      }
      if (!same) throw other(names);
      host_[one.name].resize(4 * count);  // float32 or int32
      allocate(one.name, 4 * count);
    }
  }

  ~Engine() {
    for (auto& one : device_) cudaFree(one.second);
    if (stream_) cudaStreamDestroy(stream_);
  }

  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  void run(const void* input, std::size_t bytes) {
    must(cudaMemcpyAsync(device_[input_], input, bytes, cudaMemcpyHostToDevice, stream_), "the copy to the GPU");
#if JETPRESS_BY_NAME
    for (auto& one : device_) context_->setTensorAddress(one.first.c_str(), one.second);
    const bool done = context_->enqueueV3(stream_);
#else
    std::vector<void*> bindings(engine_->getNbBindings());
    for (auto& one : device_) bindings[index(one.first)] = one.second;
    const bool done = context_->enqueueV2(bindings.data(), stream_, nullptr);
#endif
    if (!done) throw std::runtime_error("TensorRT did not run the engine");
    for (auto& one : host_)
      must(cudaMemcpyAsync(one.second.data(), device_[one.first], one.second.size(), cudaMemcpyDeviceToHost,
                           stream_), "the copy from the GPU");
    must(cudaStreamSynchronize(stream_), "the engine");
  }

  const float* floats(const std::string& name) { return reinterpret_cast<const float*>(host_.at(name).data()); }
  const int* integers(const std::string& name) { return reinterpret_cast<const int*>(host_.at(name).data()); }

 private:
  std::vector<std::string> tensors() {
    std::vector<std::string> names;
#if JETPRESS_BY_NAME
    for (int at = 0; at < engine_->getNbIOTensors(); ++at) names.push_back(engine_->getIOTensorName(at));
#else
    for (int at = 0; at < engine_->getNbBindings(); ++at) names.push_back(engine_->getBindingName(at));
#endif
    return names;
  }

  nvinfer1::Dims shape_of(const std::string& name) {
#if JETPRESS_BY_NAME
    return context_->getTensorShape(name.c_str());
#else
    return context_->getBindingDimensions(index(name));
#endif
  }

#if !JETPRESS_BY_NAME
  int index(const std::string& name) { return engine_->getBindingIndex(name.c_str()); }
#endif

  void allocate(const std::string& name, std::size_t bytes) {
    must(cudaMalloc(&device_[name], bytes), "memory on the GPU");
  }

  void require(const std::vector<std::string>& names, const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) throw other(names);
  }

  static std::runtime_error other(const std::vector<std::string>& names) {
    std::string said = "the engine is of another network than plan.hpp: it has";
    for (const std::string& one : names) said += " " + one;
    return std::runtime_error(said + "; run build.sh");
  }

  Log log_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  cudaStream_t stream_ = nullptr;
  std::string input_;
  std::vector<Output> outputs_;
  std::map<std::string, void*> device_;
  std::map<std::string, std::vector<std::uint8_t>> host_;
};

}  // namespace jetpress

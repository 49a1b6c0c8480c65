// What the plan of the run segmentation-orin-nano-0123abcd says of its network.
#pragma once

#include "prepare.hpp"
#include "decode.hpp"

namespace plan {

const char* const name = "segmentation";
const char* const input = "input";
const int batch = 1;

inline jetpress::Image image() {
  jetpress::Image made;
  made.channels = 3;
  made.height = 48;
  made.width = 64;
  made.frames = false;
  made.bgr = false;
  made.scale = 255.0f;
  made.mean = {0.485f, 0.456f, 0.406f};
  made.std = {0.229f, 0.224f, 0.225f};
  made.fit = jetpress::Fit::letterbox;
  made.crop = 0.875;
  made.border = 114;
  return made;
}

inline std::vector<jetpress::Output> outputs() {
  return {
      {"output", "float32", {5, 48, 64}},
  };
}

inline std::vector<std::string> labels() {
  return {
      "0",
      "1",
      "2",
      "3",
      "4",
  };
}

}  // namespace plan

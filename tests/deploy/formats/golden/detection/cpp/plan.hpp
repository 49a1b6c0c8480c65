// What the plan of the run detection-orin-nano-0123abcd says of its network.
#pragma once

#include "prepare.hpp"
#include "decode.hpp"

namespace plan {

const char* const name = "detection";
const char* const input = "input";
const int batch = 2;

inline jetpress::Image image() {
  jetpress::Image made;
  made.channels = 3;
  made.height = 48;
  made.width = 64;
  made.frames = false;
  made.bgr = false;
  made.scale = 255.0f;
  made.mean = {0.5f, 0.5f, 0.5f};
  made.std = {0.5f, 0.5f, 0.5f};
  made.fit = jetpress::Fit::letterbox;
  made.crop = 0.875;
  made.border = 114;
  return made;
}

inline std::vector<jetpress::Output> outputs() {
  return {
      {"boxes", "float32", {48, 4}},
      {"scores", "float32", {4, 48}},
  };
}

inline std::vector<std::string> labels() {
  return {
      "0",
      "1",
      "2",
      "3",
  };
}

inline jetpress::Rules rules() {
  jetpress::Rules made;
  made.head.whole = false;
  made.head.boxes_first = true;
  made.head.classes_first = true;
  made.head.corners = true;
  made.head.shares = false;
  made.head.scores = jetpress::Scores::each;
  made.head.strides = {};
  made.reads = {"boxes", "scores"};
  made.score = 0.05f;
  made.iou = 0.5f;
  made.candidates = 100;
  made.detections = 20;
  made.first_label = 0;
  made.classes = 4;
  made.height = 48;
  made.width = 64;
  made.levels = {};
  return made;
}

}  // namespace plan

// What the plan of the run classification-orin-nano-0123abcd says of its network.
#pragma once

#include "decode.hpp"

namespace plan {

const char* const name = "classification";
const char* const input = "input";
const int batch = 1;

inline std::vector<jetpress::Output> outputs() {
  return {
      {"output", "float32", {3}},
  };
}

inline std::vector<std::string> labels() {
  return {
      "cat",
      "dog",
      "owl",
  };
}

}  // namespace plan

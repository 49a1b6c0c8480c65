// Reads numbers, writes numbers: decode.hpp and prepare.hpp as the tests feed them, and plan.hpp of one package.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

#include "plan.hpp"

namespace {

template <class T> T next() { T value; std::cin >> value; return value; }

std::vector<int> row() {
  std::vector<int> made(next<int>());
  for (int& one : made) std::cin >> one;
  return made;
}

jetpress::Rules rules() {
  jetpress::Rules made;
  made.head.whole = next<int>();
  made.head.boxes_first = next<int>();
  made.head.classes_first = next<int>();
  made.head.corners = next<int>();
  made.head.shares = next<int>();
  made.head.scores = static_cast<jetpress::Scores>(next<int>());
  made.head.strides = row();
  made.score = next<float>();
  made.iou = next<float>();
  made.candidates = next<int>();
  made.detections = next<int>();
  made.first_label = next<int>();
  made.classes = next<int>();
  made.height = next<int>();
  made.width = next<int>();
  made.levels = row();
  return made;
}

void decode(const jetpress::Rules& rules) {
  std::vector<std::vector<float>> kept(next<int>());
  std::vector<jetpress::Tensor> outputs;
  for (auto& data : kept) {
    const std::vector<int> sides = row();
    data.resize(next<int>());
    for (float& one : data) std::cin >> one;
    outputs.push_back({data.data(), sides});
  }
  const auto found = jetpress::detections(outputs, rules);
  std::printf("%zu\n", found.size());
  for (const auto& one : found)
    std::printf("%.9g %.9g %.9g %.9g %.9g %d\n", one.x1, one.y1, one.x2, one.y2, one.score, one.label);
}

void prepare(jetpress::Image image, const char* from, const char* to) {
  const int width = next<int>(), height = next<int>();
  std::ifstream file(from, std::ios::binary);
  const std::vector<char> frame((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::vector<char> made(static_cast<std::size_t>(image.channels) * image.height * image.width * (image.frames ? 1 : 4));
  jetpress::prepare(reinterpret_cast<const std::uint8_t*>(frame.data()), width, height, 3 * width, image, made.data());
  std::ofstream(to, std::ios::binary).write(made.data(), made.size());
}

}  // namespace

int main(int, char** words) {
  const std::string what = words[1];
  if (what == "decode")
    for (int cases = next<int>(); cases > 0; --cases) decode(rules());
  if (what == "plan")  // the rules of the package, on outputs in their order
    for (int cases = next<int>(); cases > 0; --cases) decode(plan::rules());
  if (what == "prepare") {
    jetpress::Image image = plan::image();
    image.fit = static_cast<jetpress::Fit>(next<int>());
    image.height = next<int>();
    image.width = next<int>();
    image.bgr = next<int>();
    image.frames = next<int>();
    prepare(image, words[2], words[3]);
  }
}

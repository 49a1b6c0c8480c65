// From the outputs of a detector to its detections, as jetpress' runner does it (torchvision's post-processing):
// threshold, best candidates, non-maximum suppression of each class. C++11, nothing but the standard library.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace jetpress {

struct Detection {
  float x1, y1, x2, y2;  // pixels of the network's input
  float score;
  int label;
};

struct Output {  // of the network: its sides without the batch
  std::string name;
  std::string type;
  std::vector<int> sides;
};

struct Tensor {  // of one image
  const float* data;
  std::vector<int> sides;
};

enum class Scores { each, object, softmax, label };

struct Head {  // how raw outputs are to be read
  bool whole;  // one output: four numbers of the box, then the scores; otherwise two
  bool boxes_first;
  bool classes_first;  // [numbers, anchors] instead of [anchors, numbers]
  bool corners;        // x1, y1, x2, y2 instead of centre, width, height
  bool shares;         // of the input's width and height instead of pixels
  Scores scores;
  std::vector<int> strides;  // boxes are relative to cells of so many pixels
};

struct Rules {
  Head head;
  std::vector<std::string> reads;  // the outputs, in the order of the head
  float score, iou;
  int candidates, detections, first_label, classes, height, width;
  std::vector<int> levels;  // anchors of each; empty: candidates are counted for each class
};

struct Clean {
  int anchors, classes;
  std::vector<float> boxes;   // [anchors, 4] corners in pixels
  std::vector<float> scores;  // [classes, anchors]
};

inline std::vector<std::pair<float, float>> cells(const Rules& rules, std::vector<float>& steps) {
  std::vector<std::pair<float, float>> all;
  for (int stride : rules.head.strides)
    for (int y = 0; y < rules.height / stride; ++y)
      for (int x = 0; x < rules.width / stride; ++x) {
        all.emplace_back(static_cast<float>(x), static_cast<float>(y));
        steps.push_back(static_cast<float>(stride));
      }
  return all;
}

// Every box and the scores of every class, whatever the head.
inline Clean clean(const std::vector<Tensor>& outputs, const Rules& rules) {
  const Head& head = rules.head;
  const Tensor& boxes = outputs[head.whole || head.boxes_first ? 0 : 1];
  const Tensor& scores = outputs[head.whole || !head.boxes_first ? 0 : 1];
  const int skipped = head.whole ? 4 : 0;
  const int anchors = scores.sides[head.classes_first ? 1 : 0];
  const int width = scores.sides[head.classes_first ? 0 : 1];
  const int numbers = width - skipped;
  const auto box = [&](int anchor, int side) {
    const bool flipped = head.whole && head.classes_first;
    const int step = head.whole ? width : 4;
    return boxes.data[flipped ? static_cast<std::size_t>(side) * anchors + anchor
                              : static_cast<std::size_t>(anchor) * step + side];
  };
  const auto number = [&](int anchor, int place) {
    return scores.data[head.classes_first ? static_cast<std::size_t>(skipped + place) * anchors + anchor
                                          : static_cast<std::size_t>(anchor) * width + skipped + place];
  };
  Clean made;
  made.anchors = anchors;
  made.classes = head.scores == Scores::label ? rules.classes
                 : head.scores == Scores::each ? numbers : numbers - 1;
  made.boxes.resize(static_cast<std::size_t>(anchors) * 4);
  made.scores.resize(static_cast<std::size_t>(anchors) * made.classes);
  std::vector<float> steps;
  const auto grid = cells(rules, steps);
  for (int anchor = 0; anchor < anchors; ++anchor) {
    float sides[4];
    for (int side = 0; side < 4; ++side) sides[side] = box(anchor, side);
    if (!head.strides.empty()) {
      sides[0] = (sides[0] + grid[anchor].first) * steps[anchor];
      sides[1] = (sides[1] + grid[anchor].second) * steps[anchor];
      sides[2] = std::exp(sides[2]) * steps[anchor];
      sides[3] = std::exp(sides[3]) * steps[anchor];
    }
    if (head.shares)
      for (int side = 0; side < 4; ++side) sides[side] *= static_cast<float>(side % 2 ? rules.height : rules.width);
    float* out = &made.boxes[static_cast<std::size_t>(anchor) * 4];
    for (int side = 0; side < 2; ++side) {
      const float half = sides[2 + side] / 2;
      out[side] = head.corners ? sides[side] : sides[side] - half;
      out[2 + side] = head.corners ? sides[2 + side] : sides[side] + half;
    }
    float largest = 0, sum = 0;
    if (head.scores == Scores::softmax) {
      largest = number(anchor, 0);
      for (int place = 1; place < numbers; ++place) largest = std::max(largest, number(anchor, place));
      for (int place = 0; place < numbers; ++place) sum += std::exp(number(anchor, place) - largest);
    }
    for (int label = 0; label < made.classes; ++label) {
      float score = 0;
      switch (head.scores) {
        case Scores::each: score = number(anchor, label); break;
        case Scores::object: score = number(anchor, 0) * number(anchor, 1 + label); break;
        case Scores::softmax: score = std::exp(number(anchor, label) - largest) / sum; break;
        case Scores::label: score = number(anchor, 1) == static_cast<float>(label) ? number(anchor, 0) : 0; break;
      }
      made.scores[static_cast<std::size_t>(label) * anchors + anchor] = score;
    }
  }
  return made;
}

struct Candidate {
  int label, anchor;
  float score;
};

inline bool better(const Candidate& one, const Candidate& other) { return one.score > other.score; }

// Of some scores the best above the threshold, ties in their order.
inline void keep_best(std::vector<Candidate>& some, const Rules& rules, std::vector<Candidate>& all) {
  some.erase(std::remove_if(some.begin(), some.end(),
                            [&](const Candidate& one) { return !(one.score > rules.score); }), some.end());
  std::stable_sort(some.begin(), some.end(), better);
  if (some.size() > static_cast<std::size_t>(rules.candidates)) some.resize(rules.candidates);
  all.insert(all.end(), some.begin(), some.end());
}

inline std::vector<Candidate> candidates(const Clean& given, const Rules& rules) {
  std::vector<Candidate> all, some;
  const auto score = [&](int label, int anchor) {
    return given.scores[static_cast<std::size_t>(label) * given.anchors + anchor];
  };
  if (rules.levels.empty()) {
    for (int label = 0; label < given.classes; ++label) {
      some.clear();
      for (int anchor = 0; anchor < given.anchors; ++anchor) some.push_back({label, anchor, score(label, anchor)});
      keep_best(some, rules, all);
    }
    return all;
  }
  int first = 0;
  for (int count : rules.levels) {
    some.clear();
    for (int anchor = first; anchor < first + count; ++anchor)
      for (int label = 0; label < given.classes; ++label) some.push_back({label, anchor, score(label, anchor)});
    keep_best(some, rules, all);
    first += count;
  }
  return all;
}

inline bool overlap(const float* one, const float* other, float iou) {
  const float wide = std::max(0.0f, std::min(one[2], other[2]) - std::max(one[0], other[0]));
  const float high = std::max(0.0f, std::min(one[3], other[3]) - std::max(one[1], other[1]));
  const float common = wide * high;
  const float areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]);
  return common / (areas - common) > iou;  // two boxes without area: 0 / 0 is no overlap
}

// What was found in one image, best first.
inline std::vector<Detection> detections(const std::vector<Tensor>& outputs, const Rules& rules) {
  const Clean given = clean(outputs, rules);
  const std::vector<Candidate> all = candidates(given, rules);
  std::vector<Candidate> chosen;
  for (int label = 0; label < given.classes; ++label) {
    std::vector<Candidate> left;
    for (const Candidate& one : all)
      if (one.label == label) left.push_back(one);
    std::stable_sort(left.begin(), left.end(), better);
    const std::size_t before = chosen.size();
    for (const Candidate& one : left) {
      const float* box = &given.boxes[static_cast<std::size_t>(one.anchor) * 4];
      bool stays = true;
      for (std::size_t at = before; stays && at < chosen.size(); ++at)
        stays = !overlap(&given.boxes[static_cast<std::size_t>(chosen[at].anchor) * 4], box, rules.iou);
      if (stays) chosen.push_back(one);
    }
  }
  std::stable_sort(chosen.begin(), chosen.end(), better);
  if (chosen.size() > static_cast<std::size_t>(rules.detections)) chosen.resize(rules.detections);
  std::vector<Detection> found;
  for (const Candidate& one : chosen) {
    const float* box = &given.boxes[static_cast<std::size_t>(one.anchor) * 4];
    found.push_back({box[0], box[1], box[2], box[3], one.score, one.label + rules.first_label});
  }
  return found;
}

// The same where the graph has searched already: rows with score 0 are empty.
inline std::vector<Detection> detections(const float* boxes, const float* scores, const int* labels, int rows) {
  std::vector<Detection> found;
  for (int row = 0; row < rows; ++row)
    if (scores[row] > 0) {
      const float* box = boxes + 4 * row;
      found.push_back({box[0], box[1], box[2], box[3], scores[row], labels[row]});
    }
  return found;
}

// Shares of classes that add up to 1, of scores that do not yet.
inline std::vector<float> softmax(const float* scores, int count) {
  std::vector<float> shares(scores, scores + count);
  const float largest = *std::max_element(shares.begin(), shares.end());
  float sum = 0;
  for (float& one : shares) sum += one = std::exp(one - largest);
  for (float& one : shares) one /= sum;
  return shares;
}

}  // namespace jetpress

// From a frame to the network's input, as in training: brought to its size as Pillow does it (bilinear, smoothed where
// it shrinks), normalised. C++11, nothing but the standard library.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace jetpress {

enum class Fit { stretch, crop, letterbox, corner };

struct Image {  // what the input takes
  int channels, height, width;
  bool frames;  // uint8 [height, width, channels]; otherwise float [channels, height, width]
  bool bgr;
  float scale;
  std::vector<float> mean, std;
  Fit fit;
  double crop;
  int border;
};

struct Place {  // where a frame lies in the input
  int width, height, left, top;
};

inline int rounded(double value) { return static_cast<int>(std::nearbyint(value)); }

inline Place placed(int width, int height, const Image& image) {
  Place made{image.width, image.height, 0, 0};
  if (image.fit == Fit::stretch) return made;
  const double across = static_cast<double>(image.width) / width, down = static_cast<double>(image.height) / height;
  if (image.fit == Fit::crop) {
    if (image.width == image.height) {  // torchvision rounds the longer side down
      const int side = rounded(image.width / image.crop), least = std::min(width, height);
      made.width = static_cast<int>(static_cast<double>(side) * width / least);
      made.height = static_cast<int>(static_cast<double>(side) * height / least);
    } else {
      const double scale = std::max(across, down) / image.crop;
      made.width = std::max(image.width, rounded(width * scale));
      made.height = std::max(image.height, rounded(height * scale));
    }
    made.left = -rounded((made.width - image.width) / 2.0);
    made.top = -rounded((made.height - image.height) / 2.0);
    return made;
  }
  const double scale = std::min(across, down);
  made.width = std::max(1, rounded(width * scale));
  made.height = std::max(1, rounded(height * scale));
  if (image.fit == Fit::letterbox) {
    made.left = (image.width - made.width) / 2;
    made.top = (image.height - made.height) / 2;
  }
  return made;
}

struct Pixels {  // RGB or grey, tightly packed
  int width, height, channels;
  std::vector<std::uint8_t> data;
};

// One pass of a triangle filter along rows; `step` and `lines` say where the neighbours and the other axis are.
inline std::vector<std::uint8_t> narrowed(const std::vector<std::uint8_t>& given, int size, int wanted, int lines,
                                          std::size_t step, std::size_t line, std::size_t step_out,
                                          std::size_t line_out, int inner) {
  std::vector<std::uint8_t> made(static_cast<std::size_t>(wanted) * lines * inner);
  const double scale = static_cast<double>(size) / wanted, filter = std::max(1.0, scale);
  std::vector<double> weights;
  for (int at = 0; at < wanted; ++at) {
    const double centre = (at + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(centre - filter + 0.5));
    const int last = std::min(size, static_cast<int>(centre + filter + 0.5));
    weights.clear();
    double sum = 0;
    for (int from = first; from < last; ++from) {
      weights.push_back(std::max(0.0, 1.0 - std::abs((from - centre + 0.5) / filter)));
      sum += weights.back();
    }
    for (int other = 0; other < lines; ++other)
      for (int channel = 0; channel < inner; ++channel) {
        double value = 0;
        for (int from = first; from < last; ++from)
          value += weights[from - first] * given[from * step + other * line + channel];
        made[at * step_out + other * line_out + channel] = static_cast<std::uint8_t>(value / sum + 0.5);
      }
  }
  return made;
}

inline Pixels resized(Pixels given, int width, int height) {
  const std::size_t inner = given.channels;
  if (given.width != width) {
    given.data = narrowed(given.data, given.width, width, given.height, inner, inner * given.width, inner,
                          inner * width, given.channels);
    given.width = width;
  }
  if (given.height != height) {
    given.data = narrowed(given.data, given.height, height, width, inner * width, inner, inner * width, inner,
                          given.channels);
    given.height = height;
  }
  return given;
}

// One sample of the input from a frame as cameras and OpenCV have it: BGR, rows `stride` bytes apart.
inline Place prepare(const std::uint8_t* frame, int width, int height, std::size_t stride, const Image& image,
                     void* input) {
  Pixels whole{width, height, image.channels, {}};
  whole.data.reserve(static_cast<std::size_t>(width) * height * image.channels);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const std::uint8_t* pixel = frame + y * stride + 3 * x;
      if (image.channels == 1)  // ITU-R 601, as Pillow's "L"
        whole.data.push_back(static_cast<std::uint8_t>((19595 * pixel[2] + 38470 * pixel[1] + 7471 * pixel[0] +
                                                        32768) >> 16));
      else
        for (int channel = 2; channel >= 0; --channel) whole.data.push_back(pixel[channel]);
    }
  const Place place = placed(width, height, image);
  whole = resized(std::move(whole), place.width, place.height);
  const std::size_t plane = static_cast<std::size_t>(image.height) * image.width;
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < image.width; ++x) {
      const int from_x = x - place.left, from_y = y - place.top;
      const bool inside = from_x >= 0 && from_y >= 0 && from_x < whole.width && from_y < whole.height;
      for (int channel = 0; channel < image.channels; ++channel) {
        const int read = image.bgr ? image.channels - 1 - channel : channel;
        const std::uint8_t value = inside
            ? whole.data[(static_cast<std::size_t>(from_y) * whole.width + from_x) * image.channels + read]
            : static_cast<std::uint8_t>(image.border);
        const std::size_t at = static_cast<std::size_t>(y) * image.width + x;
        if (image.frames)
          static_cast<std::uint8_t*>(input)[at * image.channels + channel] = value;
        else
          static_cast<float*>(input)[channel * plane + at] =
              (value / image.scale - image.mean[channel]) / image.std[channel];
      }
    }
  return place;
}

}  // namespace jetpress

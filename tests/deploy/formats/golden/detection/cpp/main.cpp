// detection: frames in, results drawn.  ./detection SOURCE [OUT.mp4]
// SOURCE: a camera's number (V4L2), csi, a file, rtsp://...
#include <opencv2/highgui.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>

#include "engine.hpp"
#include "plan.hpp"

namespace {

const char* const csi =
    "nvarguscamerasrc ! video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1 ! nvvidconv ! "
    "video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! appsink drop=1";

cv::VideoCapture opened(const std::string& source) {
  if (source == "csi") return cv::VideoCapture(csi, cv::CAP_GSTREAMER);
  const bool number = source.find_first_not_of("0123456789") == std::string::npos;
  return number ? cv::VideoCapture(std::stoi(source)) : cv::VideoCapture(source);
}

// What the engine gave for a frame, drawn into it.
void draw(cv::Mat& frame, jetpress::Engine& engine, const jetpress::Place& place) {
  static const std::vector<std::string> labels = plan::labels();
  std::vector<jetpress::Tensor> read;
  const jetpress::Rules rules = plan::rules();
  for (const std::string& name : rules.reads)
    for (const jetpress::Output& one : plan::outputs())
      if (one.name == name) read.push_back({engine.floats(name), one.sides});
  const std::vector<jetpress::Detection> found = jetpress::detections(read, rules);
  const float x = static_cast<float>(frame.cols) / place.width, y = static_cast<float>(frame.rows) / place.height;
  for (const jetpress::Detection& one : found) {
    const cv::Point low(static_cast<int>((one.x1 - place.left) * x), static_cast<int>((one.y1 - place.top) * y));
    const cv::Point high(static_cast<int>((one.x2 - place.left) * x), static_cast<int>((one.y2 - place.top) * y));
    cv::rectangle(frame, low, high, cv::Scalar(0, 255, 0), 2);
    const std::string name = one.label < static_cast<int>(labels.size()) ? labels[one.label] : std::to_string(one.label);
    cv::putText(frame, name + cv::format(" %.2f", one.score), cv::Point(low.x, std::max(12, low.y - 4)),
                cv::FONT_HERSHEY_SIMPLEX, 0.5, cv::Scalar(0, 255, 0), 1);
  }
}

int run(const std::string& source, const std::string& out, const std::string& engine_path) {
  const jetpress::Image image = plan::image();
  const std::size_t sample = static_cast<std::size_t>(image.channels) * image.height * image.width;
  std::vector<std::uint8_t> input(plan::batch * sample * (image.frames ? 1 : 4));
  jetpress::Engine engine(engine_path, plan::input, {2, 3, 48, 64}, input.size(),
                          plan::outputs());
  cv::VideoCapture frames = opened(source);
  cv::VideoWriter video;
  cv::Mat frame;
  if (!frames.read(frame))
    throw std::runtime_error(source + " gives no frame: is it there, free, and its codec installed?");
  do {  // a batch of more than one is filled up with what it held before
    const jetpress::Place place = jetpress::prepare(frame.data, frame.cols, frame.rows, frame.step, image, input.data());
    engine.run(input.data(), input.size());
    draw(frame, engine, place);
    if (out.empty()) {
      cv::imshow(plan::name, frame);
      if (cv::waitKey(1) == 'q') break;
      continue;
    }
    if (!video.isOpened()) video.open(out, cv::VideoWriter::fourcc('m', 'p', '4', 'v'), 30, frame.size());
    video.write(frame);
  } while (frames.read(frame));
  return 0;
}

}  // namespace

int main(int count, char** words) {
  if (count < 2) {
    std::cerr << "usage: " << words[0] << " SOURCE [OUT.mp4]\n";
    return 2;
  }
  try {
    return run(words[1], count > 2 ? words[2] : "", "engine/compressed.engine");
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}

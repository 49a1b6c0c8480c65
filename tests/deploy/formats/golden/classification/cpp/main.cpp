// classification: frames in, results drawn.  ./classification SOURCE [OUT.mp4]
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
void draw(cv::Mat& frame, jetpress::Engine& engine, const jetpress::Place&) {
  static const std::vector<std::string> labels = plan::labels();
  const jetpress::Output output = plan::outputs()[0];
  const std::vector<float> shares = jetpress::softmax(engine.floats(output.name), output.sides[0]);
  const int best = static_cast<int>(std::max_element(shares.begin(), shares.end()) - shares.begin());
  const float share = shares[best];
  cv::putText(frame, labels[best] + cv::format(" %.2f", share), cv::Point(8, 24), cv::FONT_HERSHEY_SIMPLEX, 0.7,
              cv::Scalar(0, 255, 0), 2);
}

int run(const std::string& source, const std::string& out, const std::string& engine_path) {
  const jetpress::Image image = plan::image();
  const std::size_t sample = static_cast<std::size_t>(image.channels) * image.height * image.width;
  std::vector<std::uint8_t> input(plan::batch * sample * (image.frames ? 1 : 4));
  jetpress::Engine engine(engine_path, plan::input, {1, 3, 48, 64}, input.size(),
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

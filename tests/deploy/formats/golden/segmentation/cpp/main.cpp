// segmentation: frames in, results drawn.  ./segmentation SOURCE [OUT.mp4]
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
  const jetpress::Output output = plan::outputs()[0];
  const int count = output.sides[0], height = output.sides[1], width = output.sides[2];
  const float* scores = engine.floats(output.name);
  cv::Mat mask(height, width, CV_8U);
  for (int at = 0; at < height * width; ++at) {
    int best = 0;
    for (int label = 1; label < count; ++label)
      if (scores[label * height * width + at] > scores[best * height * width + at]) best = label;
    mask.data[at] = static_cast<unsigned char>(best);
  }
  cv::resize(mask, mask, cv::Size(64, 48), 0, 0, cv::INTER_NEAREST);
  const double x = static_cast<double>(frame.cols) / place.width, y = static_cast<double>(frame.rows) / place.height;
  const cv::Mat back = (cv::Mat_<double>(2, 3) << x, 0, -place.left * x, 0, y, -place.top * y);
  cv::warpAffine(mask, mask, back, frame.size(), cv::INTER_NEAREST);
  cv::Mat colours, mixed;
  cv::applyColorMap(mask * 37, colours, cv::COLORMAP_HSV);
  cv::addWeighted(frame, 0.5, colours, 0.5, 0, mixed);
  mixed.copyTo(frame, mask);
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

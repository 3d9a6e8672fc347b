#include "worker/data/image.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "common/check.h"

namespace tessera {
namespace {

// What one pixel of a resized line is made of: `weights` of the line's pixels from `first` on.
struct Window {
  int64_t first = 0;
  std::vector<double> weights;
};

// For each of `to` pixels out of a line of `from`.
std::vector<Window> Windows(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double reach = std::max(scale, 1.0);
  std::vector<Window> windows(static_cast<size_t>(to));
  for (int64_t i = 0; i < to; ++i) {
    Window& window = windows[static_cast<size_t>(i)];
    const double center = (static_cast<double>(i) + 0.5) * scale;
    window.first = std::max<int64_t>(0, static_cast<int64_t>(center - reach + 0.5));
    const int64_t last = std::min(from, static_cast<int64_t>(center + reach + 0.5));
    double sum = 0;
    for (int64_t k = window.first; k < last; ++k) {
      const double distance = std::abs((static_cast<double>(k) + 0.5 - center) / reach);
      window.weights.push_back(std::max(0.0, 1 - distance));
      sum += window.weights.back();
    }
    for (double& weight : window.weights) weight /= sum;
  }
  return windows;
}

// Resizes the lines of `in`, seen as [outer, from, inner], to [outer, windows, inner].
std::vector<uint8_t> ResizeLines(const std::vector<uint8_t>& in, int64_t outer, int64_t from, int64_t inner,
                                 const std::vector<Window>& windows) {
  std::vector<uint8_t> out;
  out.reserve(static_cast<size_t>(outer * inner) * windows.size());
  for (int64_t o = 0; o < outer; ++o) {
    for (const Window& window : windows) {
      const uint8_t* start = &in[static_cast<size_t>((o * from + window.first) * inner)];
      for (int64_t i = 0; i < inner; ++i) {
        double sum = 0;
        for (size_t k = 0; k < window.weights.size(); ++k) {
          sum += window.weights[k] * start[static_cast<int64_t>(k) * inner + i];
        }
        out.push_back(static_cast<uint8_t>(std::min(sum + 0.5, 255.0)));
      }
    }
  }
  return out;
}

}  // namespace

Image ToGrey(const Image& colour) {
  TESSERA_CHECK(colour.channels == 3);
  Image grey{1, colour.height, colour.width, std::vector<uint8_t>(colour.pixels.size() / 3)};
  for (size_t i = 0; i < grey.pixels.size(); ++i) {
    const uint8_t* pixel = &colour.pixels[3 * i];
    const uint32_t sum = 19595U * pixel[0] + 38470U * pixel[1] + 7471U * pixel[2] + 32768U;
    grey.pixels[i] = static_cast<uint8_t>(sum >> 16);
  }
  return grey;
}

Image ToColour(const Image& grey) {
  TESSERA_CHECK(grey.channels == 1);
  Image colour{3, grey.height, grey.width, std::vector<uint8_t>(3 * grey.pixels.size())};
  for (size_t i = 0; i < colour.pixels.size(); ++i) colour.pixels[i] = grey.pixels[i / 3];
  return colour;
}

Image Resize(const Image& image, int64_t height, int64_t width) {
  Image result{image.channels, height, width, {}};
  const std::vector<uint8_t> rows =
      ResizeLines(image.pixels, image.height, image.width, image.channels, Windows(image.width, width));
  result.pixels = ResizeLines(rows, 1, image.height, width * image.channels, Windows(image.height, height));
  return result;
}

void CopyPlanes(const Image& image, absl::Span<uint8_t> out) {
  TESSERA_CHECK(out.size() == image.pixels.size());
  const auto channels = static_cast<size_t>(image.channels);
  const size_t plane = out.size() / channels;
  for (size_t c = 0; c < channels; ++c) {
    for (size_t i = 0; i < plane; ++i) out[c * plane + i] = image.pixels[i * channels + c];
  }
}

}  // namespace tessera

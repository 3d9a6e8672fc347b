// A decoded image of 8 bits a channel, and what is done with one: to grey, to another size.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace tessera {

struct Image {
  int64_t channels = 0;  // 1: grey; 3: red, green, blue
  int64_t height = 0;
  int64_t width = 0;
  std::vector<uint8_t> pixels;  // [H,W,C]: the channels of a pixel lie together
};

// (19595 R + 38470 G + 7471 B + 32768) / 65536, as Pillow's convert("L"). Source: ITU-R BT.601.
Image ToGrey(const Image& colour);

// Three channels alike.
Image ToColour(const Image& grey);

// Bilinear, with the triangle as wide as the scale where the image shrinks, so that no pixel is left out:
// rows first, then columns, each rounded to 8 bits; pixels lie at the middle of their squares, and weights at
// the border are scaled to sum up to 1. Within one level of Pillow's resize(BILINEAR). Sums are doubles in
// one order: every machine gets the same.
Image Resize(const Image& image, int64_t height, int64_t width);

// Writes `image` as planes [C,H,W]; `out` is as long as its pixels.
void CopyPlanes(const Image& image, absl::Span<uint8_t> out);

}  // namespace tessera

// Memory layouts. A layout says where the element [n,c,h,w] lies: row-major, channels last, or in blocks of
// channels that oneDNN chose.
#pragma once

#include <cstdint>
#include <dnnl.hpp>
#include <vector>

#include "common/shape.h"

namespace tessera::cpu {

using Layout = dnnl::memory::desc;
using Dims = dnnl::memory::dims;

// Row-major float32, as PyTorch lays tensors out.
Layout RowMajor(const Dims& dims);

// [N,C,H,W] as N,H,W,C.
Layout ChannelsLast(const Dims& dims);

// For a primitive to choose.
Layout AnyLayout(const Dims& dims);

// The layout of [N,C,H,W] in the manner of `like`, for other sizes: in blocks of as many channels, row-major,
// or else channels last.
Layout LayoutLike(const Layout& like, const Dims& dims);

// Of how many channels a block of [N,C,H,W] is; 1 where there are none.
int64_t ChannelBlock(const Layout& layout);

// Whether both put the same elements at the same places (strides of dimensions of size 1 do not count).
bool SamePlaces(const Layout& a, const Layout& b);

// [N, shape...].
Dims WithBatch(int64_t batch, const Shape& shape);

// Addresses inside a float32 [N,C,H,W] tensor, channels in blocks or not.
class ImageIndex {
 public:
  explicit ImageIndex(const Layout& layout);

  int64_t Channel(int64_t c) const { return c / block_ * channel_stride_ + c % block_; }
  // Channel(0) .. Channel(count-1), for inner loops: a division costs more than most of their work.
  std::vector<int64_t> Channels(int64_t count) const;
  int64_t Pixel(int64_t n, int64_t h, int64_t w) const {
    return n * batch_stride_ + h * row_stride_ + w * column_stride_;
  }

 private:
  int64_t block_, batch_stride_, channel_stride_, row_stride_, column_stride_;
};

}  // namespace tessera::cpu

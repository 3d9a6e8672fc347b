#include "worker/cpu/layout.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "common/check.h"

namespace tessera::cpu {
namespace {

using Tag = dnnl::memory::format_tag;
constexpr auto kFloat = dnnl::memory::data_type::f32;

struct Extent {
  int64_t size, stride;
  friend bool operator==(const Extent&, const Extent&) = default;
};

// Appends a loop inside the others; one that goes on where the loop around it left off makes that one longer.
void Append(Extent extent, std::vector<Extent>& extents) {
  if (extent.size == 1) return;
  if (!extents.empty() && extents.back().stride == extent.size * extent.stride) {
    extent.size *= extents.back().size;
    extents.pop_back();
  }
  extents.push_back(extent);
}

// The fewest loops that visit the elements in order of their indices, outermost first. A dimension that lies
// in blocks is two of them.
std::vector<Extent> Extents(const Layout& layout) {
  const dnnl_blocking_desc_t& blocking = layout.data.format_desc.blocking;
  std::vector<Extent> extents;
  for (int d = 0; d < layout.data.ndims; ++d) {
    std::vector<Extent> inner;
    int64_t stride = 1, blocked = 1;
    for (int b = blocking.inner_nblks - 1; b >= 0; --b) {
      if (blocking.inner_idxs[b] == d) {
        inner.push_back({blocking.inner_blks[b], stride});
        blocked *= blocking.inner_blks[b];
      }
      stride *= blocking.inner_blks[b];
    }
    Append({layout.data.padded_dims[d] / blocked, blocking.strides[d]}, extents);
    for (auto block = inner.rbegin(); block != inner.rend(); ++block) Append(*block, extents);
  }
  return extents;
}

bool IsPadded(const Layout& layout) {
  return !std::equal(layout.data.dims, layout.data.dims + layout.data.ndims, layout.data.padded_dims);
}

}  // namespace

Layout RowMajor(const Dims& dims) {
  static constexpr std::array kTags = {Tag::a, Tag::ab, Tag::abc, Tag::abcd, Tag::abcde};
  TESSERA_CHECK(!dims.empty() && dims.size() <= kTags.size());
  return Layout(dims, kFloat, kTags[dims.size() - 1]);
}

Layout ChannelsLast(const Dims& dims) { return Layout(dims, kFloat, Tag::nhwc); }

Layout AnyLayout(const Dims& dims) { return Layout(dims, kFloat, Tag::any); }

Layout LayoutLike(const Layout& like, const Dims& dims) {
  for (Tag tag : {Tag::nchw, Tag::nChw4c, Tag::nChw8c, Tag::nChw16c}) {
    if (like == Layout(like.dims(), kFloat, tag)) return Layout(dims, kFloat, tag);
  }
  return ChannelsLast(dims);
}

int64_t ChannelBlock(const Layout& layout) {
  const dnnl_blocking_desc_t& blocking = layout.data.format_desc.blocking;
  TESSERA_CHECK(layout.data.ndims == 4 && blocking.inner_nblks <= 1);
  TESSERA_CHECK(blocking.inner_nblks == 0 || blocking.inner_idxs[0] == 1);
  return blocking.inner_nblks == 0 ? 1 : blocking.inner_blks[0];
}

bool SamePlaces(const Layout& a, const Layout& b) {
  return a.dims() == b.dims() && IsPadded(a) == IsPadded(b) && Extents(a) == Extents(b);
}

Dims WithBatch(int64_t batch, const Shape& shape) {
  Dims dims = {batch};
  dims.insert(dims.end(), shape.begin(), shape.end());
  return dims;
}

ImageIndex::ImageIndex(const Layout& layout) {
  const dnnl_blocking_desc_t& blocking = layout.data.format_desc.blocking;
  block_ = ChannelBlock(layout);
  batch_stride_ = blocking.strides[0];
  channel_stride_ = blocking.strides[1];
  row_stride_ = blocking.strides[2];
  column_stride_ = blocking.strides[3];
}

std::vector<int64_t> ImageIndex::Channels(int64_t count) const {
  std::vector<int64_t> offsets;
  for (int64_t c = 0; c < count; ++c) offsets.push_back(Channel(c));
  return offsets;
}

}  // namespace tessera::cpu

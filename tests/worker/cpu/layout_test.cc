#include "worker/cpu/layout.h"

#include <gtest/gtest.h>

namespace tessera::cpu {
namespace {

Layout Tagged(const Dims& dims, dnnl::memory::format_tag tag) {
  return Layout(dims, dnnl::memory::data_type::f32, tag);
}

using Tag = dnnl::memory::format_tag;

TEST(Layout, PlacesDoNotDependOnDimensionsOfSizeOne) {
  EXPECT_TRUE(SamePlaces(RowMajor({2, 1, 3, 4}), ChannelsLast({2, 1, 3, 4})));
  EXPECT_TRUE(SamePlaces(RowMajor({2, 5, 1, 1}), ChannelsLast({2, 5, 1, 1})));
  EXPECT_TRUE(SamePlaces(RowMajor({2, 32, 1, 1}), Tagged({2, 32, 1, 1}, Tag::nChw16c)));
  EXPECT_FALSE(SamePlaces(RowMajor({2, 5, 3, 4}), ChannelsLast({2, 5, 3, 4})));
  EXPECT_FALSE(SamePlaces(RowMajor({2, 32, 3, 4}), Tagged({2, 32, 3, 4}, Tag::nChw16c)));
}

TEST(Layout, OtherSizesOrPaddedChannelsAreOtherPlaces) {
  EXPECT_FALSE(SamePlaces(RowMajor({2, 3}), RowMajor({3, 2})));
  EXPECT_FALSE(SamePlaces(RowMajor({2, 5, 1, 1}), Tagged({2, 5, 1, 1}, Tag::nChw16c)));
}

TEST(Layout, LikeKeepsTheManner) {
  const Dims small = {2, 16, 8, 8}, large = {2, 32, 4, 4};
  for (Tag tag : {Tag::nchw, Tag::nhwc, Tag::nChw8c, Tag::nChw16c}) {
    EXPECT_EQ(LayoutLike(Tagged(small, tag), large), Tagged(large, tag));
  }
}

TEST(ChannelBlock, IsOneWhereChannelsLieInNoBlocks) {
  const Dims dims = {2, 20, 3, 4};
  EXPECT_EQ(ChannelBlock(Tagged(dims, Tag::nchw)), 1);
  EXPECT_EQ(ChannelBlock(Tagged(dims, Tag::nhwc)), 1);
  EXPECT_EQ(ChannelBlock(Tagged(dims, Tag::nChw8c)), 8);
  EXPECT_EQ(ChannelBlock(Tagged(dims, Tag::nChw16c)), 16);
}

TEST(ImageIndex, FindsEveryElementOfEveryLayout) {
  const Dims dims = {2, 20, 3, 4};
  for (Tag tag : {Tag::nchw, Tag::nhwc, Tag::nChw16c}) {
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    dnnl::memory plain(RowMajor(dims), engine), other(Tagged(dims, tag), engine);
    auto* from = static_cast<float*>(plain.get_data_handle());
    for (int i = 0; i < 2 * 20 * 3 * 4; ++i) from[i] = static_cast<float>(i);
    dnnl::stream stream(engine);
    dnnl::reorder(plain, other).execute(stream, plain, other);
    const auto* to = static_cast<const float*>(other.get_data_handle());
    const ImageIndex index(other.get_desc());
    const std::vector<int64_t> channels = index.Channels(dims[1]);
    ASSERT_EQ(channels.size(), 20u);
    int expected = 0;
    for (int64_t n = 0; n < dims[0]; ++n) {
      for (int64_t c = 0; c < dims[1]; ++c) {
        for (int64_t h = 0; h < dims[2]; ++h) {
          for (int64_t w = 0; w < dims[3]; ++w) {
            EXPECT_EQ(index.Channel(c), channels[c]);
            EXPECT_EQ(to[index.Pixel(n, h, w) + index.Channel(c)], static_cast<float>(expected++));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace tessera::cpu

// Shapes and options that every registered layer is tested with: batch 1, odd sizes, strides, padding. Suites
// that sweep the registry take them from here; a layer without cases fails them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/options.h"
#include "common/shape.h"

namespace tessera::nn {

struct LayerCase {
  int64_t batch = 1;
  std::vector<Shape> inputs;  // without the batch
  Options options;
};

// `options` and one more, which is a list.
inline Options With(Options options, const std::string& name, std::vector<std::string> sizes) {
  options.Set(name, {std::move(sizes), ""});
  return options;
}

inline std::map<std::string, std::vector<LayerCase>> LayerCases() {
  return {
      {"conv2d",
       {{1, {{1, 1, 1}}, {{"out_channels", "1"}, {"kernel", "1"}}},
        {2, {{3, 7, 5}}, {{"out_channels", "4"}, {"kernel", "3"}}},
        {1, {{2, 6, 6}}, {{"out_channels", "3"}, {"kernel", "3"}, {"padding", "1"}, {"bias", "false"}}},
        {3, {{2, 7, 8}}, {{"out_channels", "3"}, {"kernel", "3"}, {"stride", "2"}, {"padding", "1"}}},
        {2, {{3, 9, 4}}, {{"out_channels", "5"}, {"kernel", "1"}, {"stride", "3"}}},
        {1, {{2, 5, 11}}, {{"out_channels", "2"}, {"kernel", "5"}, {"stride", "3"}, {"padding", "2"}}},
        // The last rows and columns are behind the last window; the padding is wider than the image.
        {2, {{1, 8, 9}}, {{"out_channels", "2"}, {"kernel", "3"}, {"stride", "4"}}},
        {1, {{2, 2, 3}}, {{"out_channels", "2"}, {"kernel", "4"}, {"padding", "3"}, {"init", "kaiming"}}},
        // Windows that are not square, or have holes.
        {2, {{2, 6, 7}}, With({{"out_channels", "3"}, {"padding", "1"}}, "kernel", {"2", "5"})},
        {2, {{2, 9, 8}}, {{"out_channels", "3"}, {"kernel", "3"}, {"dilation", "3"}}},
        {1,
         {{2, 7, 9}},
         {{"out_channels", "2"}, {"kernel", "3"}, {"stride", "2"}, {"padding", "2"}, {"dilation", "2"}}},
        // In groups; the last two are depthwise.
        {2, {{4, 5, 6}}, {{"out_channels", "6"}, {"kernel", "3"}, {"groups", "2"}}},
        {1,
         {{6, 7, 5}},
         {{"out_channels", "3"},
          {"kernel", "3"},
          {"stride", "2"},
          {"padding", "2"},
          {"dilation", "2"},
          {"groups", "3"},
          {"bias", "false"}}},
        {3, {{3, 5, 6}}, {{"out_channels", "3"}, {"kernel", "3"}, {"padding", "1"}, {"groups", "3"}}},
        {2, {{2, 8, 7}}, {{"out_channels", "4"}, {"kernel", "3"}, {"stride", "2"}, {"groups", "2"}}}}},
      {"linear",
       {{1, {{1}}, {{"out_features", "1"}}},
        {1, {{7}}, {{"out_features", "5"}}},
        {3, {{13}}, {{"out_features", "4"}, {"bias", "false"}}},
        {5, {{6}}, {{"out_features", "17"}}}}},
      {"batch_norm",
       {{1, {{1, 1, 1}}, {}},
        {1, {{3, 5, 3}}, {}},
        {4, {{2, 1, 1}}, {}},
        {3, {{5, 7, 4}}, {{"eps", "0.01"}}}}},
      {"relu", {{1, {{1}}, {}}, {3, {{7}}, {}}, {2, {{3, 5, 7}}, {}}}},
      {"max_pool",
       {{1, {{1, 1, 1}}, {{"kernel", "1"}}},
        {2, {{3, 6, 8}}, {{"kernel", "2"}}},
        {1, {{2, 7, 5}}, {{"kernel", "2"}}},
        {2, {{2, 7, 9}}, {{"kernel", "3"}, {"stride", "2"}}},
        {1, {{3, 7, 7}}, {{"kernel", "3"}, {"stride", "2"}, {"padding", "1"}}},
        {2, {{2, 6, 7}}, {{"kernel", "3"}, {"stride", "2"}, {"ceil_mode", "true"}}},
        {1, {{1, 5, 5}}, {{"kernel", "2"}, {"stride", "3"}, {"ceil_mode", "true"}}},
        {1, {{1, 5, 6}}, {{"kernel", "2"}, {"stride", "2"}, {"padding", "1"}, {"ceil_mode", "true"}}}}},
      {"avg_pool",
       {{1, {{1, 1, 1}}, {{"kernel", "1"}}},
        {2, {{3, 6, 8}}, {{"kernel", "2"}}},
        {1, {{2, 7, 5}}, {{"kernel", "3"}, {"stride", "2"}, {"padding", "1"}}},
        {1,
         {{2, 7, 5}},
         {{"kernel", "3"}, {"stride", "2"}, {"padding", "1"}, {"count_include_pad", "false"}}},
        {2, {{1, 8, 9}}, {{"kernel", "3"}, {"stride", "4"}}},
        {3,
         {{2, 4, 7}},
         {{"kernel", "4"}, {"stride", "1"}, {"padding", "2"}, {"count_include_pad", "false"}}}}},
      {"local_response_norm",
       {{1, {{1, 1, 1}}, {{"size", "1"}, {"alpha", "0.5"}}},
        {2, {{7, 3, 4}}, {{"size", "3"}, {"alpha", "2"}, {"beta", "0.75"}, {"k", "2"}}},
        {1, {{6, 4, 3}}, {{"size", "5"}, {"alpha", "1.5"}, {"beta", "0.5"}}},
        // An even window, and one that is wider than the channels.
        {1, {{5, 3, 3}}, {{"size", "4"}, {"alpha", "3"}}},
        {2, {{3, 2, 3}}, {{"size", "9"}, {"alpha", "4"}, {"beta", "1.25"}, {"k", "0.5"}}}}},
      {"concat",
       {{1, {{3}, {3}}, {}},
        {2, {{4}, {1}, {6}}, {}},
        {2, {{2, 3, 5}, {2, 3, 5}}, {}},
        {3, {{16, 4, 3}, {32, 4, 3}}, {}},
        {1, {{1, 2, 4}, {16, 2, 4}, {5, 2, 4}}, {}}}},
      {"flatten", {{1, {{1, 1, 1}}, {}}, {3, {{2, 3, 5}}, {}}, {2, {{7}}, {}}}},
      {"add", {{1, {{3}, {3}}, {}}, {2, {{2, 3, 5}, {2, 3, 5}}, {}}, {3, {{4}, {4}, {4}}, {}}}},
      {"global_avg_pool", {{1, {{1, 1, 1}}, {}}, {3, {{5, 7, 3}}, {}}}},
      {"adaptive_avg_pool",
       {{1, {{1, 1, 1}}, {{"output", "1"}}},
        {2, {{3, 5, 7}}, {{"output", "3"}}},
        {1, {{2, 6, 8}}, With({}, "output", {"3", "2"})},
        {3, {{2, 7, 4}}, With({}, "output", {"2", "4"})},
        // Larger than the input, and as large.
        {1, {{2, 1, 1}}, {{"output", "7"}}},
        {2, {{1, 4, 3}}, With({}, "output", {"6", "2"})},
        {2, {{3, 4, 5}}, With({}, "output", {"4", "5"})}}},
      {"dropout",
       {{1, {{1}}, {{"p", "0"}}},
        {1, {{13}}, {}},
        {3, {{7}}, {{"p", "0.25"}}},
        {2, {{3, 5, 7}}, {{"p", "0.75"}}},
        {3, {{2, 3, 3}}, {}}}},
      {"shortcut_a",
       {{1, {{2, 6, 4}}, {{"out_channels", "4"}}},
        {3, {{3, 7, 5}}, {{"out_channels", "6"}, {"stride", "2"}}},
        {2, {{3, 5, 5}}, {{"out_channels", "3"}, {"stride", "3"}}},
        {1, {{1, 1, 1}}, {{"out_channels", "5"}, {"stride", "1"}}}}},
      {"softmax_cross_entropy",
       {{1, {{1}}, {}},
        {1, {{10}}, {}},
        {5, {{7}}, {}},
        {4, {{6}}, {{"label_smoothing", "0.1"}}},
        {2, {{3}}, {{"label_smoothing", "1"}}}}},
  };
}

}  // namespace tessera::nn

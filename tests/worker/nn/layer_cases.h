// Shapes and options that every registered layer is tested with: batch 1, odd sizes, strides, padding. Suites
// that sweep the registry take them from here; a layer without cases fails them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/options.h"
#include "common/shape.h"

namespace tessera::nn {

struct LayerCase {
  int64_t batch = 1;
  std::vector<Shape> inputs;  // without the batch
  Options options;
};

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
        {1, {{2, 2, 3}}, {{"out_channels", "2"}, {"kernel", "4"}, {"padding", "3"}, {"init", "kaiming"}}}}},
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
      {"flatten", {{1, {{1, 1, 1}}, {}}, {3, {{2, 3, 5}}, {}}, {2, {{7}}, {}}}},
      {"add", {{1, {{3}, {3}}, {}}, {2, {{2, 3, 5}, {2, 3, 5}}, {}}, {3, {{4}, {4}, {4}}, {}}}},
      {"global_avg_pool", {{1, {{1, 1, 1}}, {}}, {3, {{5, 7, 3}}, {}}}},
      {"shortcut_a",
       {{1, {{2, 6, 4}}, {{"out_channels", "4"}}},
        {3, {{3, 7, 5}}, {{"out_channels", "6"}, {"stride", "2"}}},
        {2, {{3, 5, 5}}, {{"out_channels", "3"}, {"stride", "3"}}},
        {1, {{1, 1, 1}}, {{"out_channels", "5"}, {"stride", "1"}}}}},
      {"softmax_cross_entropy", {{1, {{1}}, {}}, {1, {{10}}, {}}, {5, {{7}}, {}}}},
  };
}

}  // namespace tessera::nn

// Small layouts, gradients and a reference for the tests of the server core.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "common/shard_layout.h"
#include "common/tensor_buffer.h"
#include "common/tensor_bytes.h"
#include "common/types.h"

namespace tessera {

using Floats = std::vector<float>;

inline TensorBytes Bytes(const Floats& values) {
  auto buffer = std::make_shared<TensorBuffer>(values.size());
  std::copy(values.begin(), values.end(), buffer->data());
  return TensorBytes(std::move(buffer));
}

inline Floats Values(const TensorBuffer& buffer) { return {buffer.data(), buffer.data() + buffer.size()}; }

// Equal to the last bit (EXPECT_EQ on floats takes -0 for 0).
inline bool SameBits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Of very different sizes, so that the order of additions shows in the last bits.
inline Floats RandomFloats(std::mt19937& random, size_t length) {
  std::normal_distribution<float> normal;
  Floats values(length);
  for (float& value : values) value = normal(random) * static_cast<float>(1 << random() % 12);
  return values;
}

// The sum of `leaves[first..last]` by the definition of the tree: node (j,k) is the sum of its children
// (j-1,2k) and (j-1,2k+1), or its left child. Absent leaves are empty; so is the sum of none.
inline Floats NaiveTreeSum(const std::vector<Floats>& leaves, size_t first, size_t width) {
  if (first >= leaves.size()) return {};
  if (width == 1) return leaves[first];
  Floats left = NaiveTreeSum(leaves, first, width / 2);
  const Floats right = NaiveTreeSum(leaves, first + width / 2, width / 2);
  if (left.empty()) return right;
  for (size_t i = 0; i < right.size(); ++i) left[i] = left[i] + right[i];
  return left;
}

inline Floats NaiveTreeSum(const std::vector<Floats>& leaves) {
  size_t width = 1;
  while (width < leaves.size()) width *= 2;
  return NaiveTreeSum(leaves, 0, width);
}

// The sum of one node's leaves, as a worker that runs these replicas would push it.
inline Floats NodeSum(const std::vector<Floats>& leaves, ReplicaRange node) {
  return NaiveTreeSum({leaves.begin() + node.first, leaves.begin() + node.last + 1});
}

// A layer `fc` with a weight of `length` elements, uniform in [-0.5, 0.5), and a layer `bn` with statistics.
inline ShardLayout TestLayout(int64_t length, int64_t shard_bytes) {
  const Initializer uniform{Initializer::Kind::kUniform, 0.5F};
  const Initializer one{Initializer::Kind::kConstant, 1};
  auto layout = ShardLayout::Create(
      {{"fc", ParameterKind::kWeight, {{"fc.weight", {length}, ParameterKind::kWeight, uniform}}},
       {"bn",
        ParameterKind::kStatistic,
        {{"bn.running_mean", {4}, ParameterKind::kStatistic, {}},
         {"bn.running_var", {4}, ParameterKind::kStatistic, one}}}},
      shard_bytes);
  EXPECT_TRUE(layout.ok()) << layout.status();
  return *std::move(layout);
}

}  // namespace tessera

// The values of a sample as what they are said to be; the test fails when they are the other kind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>

#include "gtest/gtest.h"
#include "worker/data/dataset.h"

namespace tessera {

template <typename T>
absl::Span<const T> ValuesAs(const Dataset& dataset, uint32_t index, size_t input) {
  const InputValues values = dataset.Values(index, input);
  const auto* span = std::get_if<absl::Span<const T>>(&values);
  EXPECT_NE(span, nullptr) << "values of another type";
  return span == nullptr ? absl::Span<const T>() : *span;
}

inline absl::Span<const uint8_t> Pixels(const Dataset& dataset, uint32_t index, size_t input = 0) {
  return ValuesAs<uint8_t>(dataset, index, input);
}

inline absl::Span<const float> Numbers(const Dataset& dataset, uint32_t index, size_t input = 0) {
  return ValuesAs<float>(dataset, index, input);
}

}  // namespace tessera

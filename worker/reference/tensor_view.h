// Row-major indexing for the plain loops. Bounds are the caller's business.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "common/shape.h"

namespace tessera::reference {

// A [N,C,H,W] tensor (or OIHW weights).
template <typename T>
class Images {
 public:
  // `image` is [C,H,W].
  Images(absl::Span<T> values, const Shape& image)
      : values_(values), channels_(image[0]), height_(image[1]), width_(image[2]) {}

  T& operator()(int64_t n, int64_t c, int64_t i, int64_t j) const {
    return values_[((n * channels_ + c) * height_ + i) * width_ + j];
  }
  bool Inside(int64_t i, int64_t j) const { return 0 <= i && i < height_ && 0 <= j && j < width_; }

  int64_t channels() const { return channels_; }
  int64_t height() const { return height_; }
  int64_t width() const { return width_; }

 private:
  absl::Span<T> values_;
  int64_t channels_, height_, width_;
};

// A [rows, columns] matrix.
template <typename T>
class Matrix {
 public:
  Matrix(absl::Span<T> values, int64_t columns) : values_(values), columns_(columns) {}
  T& operator()(int64_t row, int64_t column) const { return values_[row * columns_ + column]; }

 private:
  absl::Span<T> values_;
  int64_t columns_;
};

}  // namespace tessera::reference

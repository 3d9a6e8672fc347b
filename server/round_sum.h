// The sum of a round that is complete but not added up yet: the push that completed it, as it arrived, and
// the partial sums along its way to the root of the tree. It is added up piece by piece while the update
// reads it, so that it never goes through memory.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "common/tensor_buffer.h"
#include "common/tensor_bytes.h"

namespace tessera {

// Not thread-safe.
class RoundSum {
 public:
  // `last` outlives it. Each of `partials` is as long, and they are in the order of addition.
  RoundSum(const TensorBytes& last, std::vector<std::shared_ptr<TensorBuffer>> partials)
      : last_(last), partials_(std::move(partials)) {}

  // The next `out.size()` elements, from the front. There must be so many left.
  void ReadNext(absl::Span<float> out);

 private:
  TensorBytes::Reader last_;
  std::vector<std::shared_ptr<TensorBuffer>> partials_;
  size_t position_ = 0;
};

}  // namespace tessera

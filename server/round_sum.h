// A sum that is not added up yet: a push as it arrived, and the partial sums along its way up the tree, to
// the root if it completes the round. It is added up piece by piece while it is read, so that it never goes
// through memory.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "common/tensor_bytes.h"

namespace tessera {

// Values that somebody keeps alive.
struct HeldValues {
  std::shared_ptr<const void> owner;
  absl::Span<const float> values;
};

// Not thread-safe.
class RoundSum {
 public:
  // `last` outlives it. Each of `partials` is as long, and they are in the order of addition.
  RoundSum(const TensorBytes& last, std::vector<HeldValues> partials)
      : last_(last), partials_(std::move(partials)) {}

  // The next `out.size()` elements, from the front. There must be so many left.
  void ReadNext(absl::Span<float> out);

 private:
  TensorBytes::Reader last_;
  std::vector<HeldValues> partials_;
  size_t position_ = 0;
};

}  // namespace tessera

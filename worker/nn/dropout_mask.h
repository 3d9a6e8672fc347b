// Which elements a dropout layer keeps in one step: a pure function of (seed, replica, clock, the layer's
// name, element), so that every executor, and whoever takes over a replica, drops the same ones. It knows no
// batch: element k of a smaller batch is that of a larger one.
//   element i survives when its 24-bit draw is at least p * 2^24, rounded up: with probability 1-p to 2^-24.
// Source: Philox4x32-10 (common/random.h), whose two levels of keys are (seed, replica, clock), then the
// name.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/random.h"
#include "worker/nn/executor.h"

namespace tessera::nn {

// Immutable.
class DropoutMask {
 public:
  // `p`, the part that is dropped, lies in [0, 1).
  DropoutMask(const StepKey& key, absl::string_view layer, double p);

  // Whether element `i` survives; elements are counted row-major, sample by sample: [N,...].
  bool Keeps(uint64_t i) const { return Survives(stream_.Bits(i)); }

  // kept[k] = Keeps(first + k), as 1 or 0; four elements for each draw of the generator.
  void Fill(uint64_t first, absl::Span<uint8_t> kept) const;

 private:
  bool Survives(uint32_t bits) const { return (bits >> 8) >= threshold_; }

  const RandomStream stream_;
  const uint32_t threshold_;
};

}  // namespace tessera::nn

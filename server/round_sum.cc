#include "server/round_sum.h"

namespace tessera {

void RoundSum::ReadNext(absl::Span<float> out) {
  last_.CopyNext(out);
  float* __restrict to = out.data();
  const size_t length = out.size();
  for (const HeldValues& partial : partials_) {
    const float* __restrict from = partial.values.data() + position_;
    for (size_t i = 0; i < length; ++i) to[i] += from[i];
  }
  position_ += length;
}

}  // namespace tessera

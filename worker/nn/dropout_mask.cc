#include "worker/nn/dropout_mask.h"

#include <array>
#include <cmath>
#include <cstddef>

namespace tessera::nn {
namespace {

RandomStream LayerStream(const StepKey& key, absl::string_view layer) {
  const RandomStream step(key.seed, RandomPurpose::kDropout, static_cast<uint64_t>(key.clock),
                          static_cast<uint32_t>(key.replica));
  const std::array<uint32_t, 4> seed = step.Block(HashName(layer));
  return RandomStream((static_cast<uint64_t>(seed[1]) << 32) | seed[0], RandomPurpose::kDropout,
                      (static_cast<uint64_t>(seed[3]) << 32) | seed[2]);
}

}  // namespace

DropoutMask::DropoutMask(const StepKey& key, absl::string_view layer, double p)
    : stream_(LayerStream(key, layer)), threshold_(static_cast<uint32_t>(std::ceil(std::ldexp(p, 24)))) {}

void DropoutMask::Fill(uint64_t first, absl::Span<uint8_t> kept) const {
  for (size_t k = 0; k < kept.size();) {
    const std::array<uint32_t, 4> draws = stream_.Block((first + k) / 4);
    for (size_t i = (first + k) % 4; i < 4 && k < kept.size(); ++i, ++k) kept[k] = Survives(draws[i]) ? 1 : 0;
  }
}

}  // namespace tessera::nn

// Randomness as pure functions: Philox4x32-10 keyed by what is logical (seed, purpose, indices), never by
// who asks.
// Source: Salmon et al. 2011 (Random123).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

namespace tessera {

// Separates the uses of one seed; part of the key. Values are part of the promise of equal bits:
// never renumber.
enum class RandomPurpose : uint32_t {
  kInitialWeights = 1,
  kSampleOrder = 2,
  kAugmentation = 3,
  kDropout = 4,
  kFaults = 5,
};

// Philox4x32-10, the block function itself: 128 random bits for a counter under a key.
std::array<uint32_t, 4> Philox4x32(const std::array<uint32_t, 4>& counter,
                                   const std::array<uint32_t, 2>& key);

// The upper 24 bits of `bits` as a float in [0, 1); exact.
constexpr float UniformFromBits(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24F; }

// A family of random numbers: element `i` is a pure function of (seed, purpose, a, b, i).
class RandomStream {
 public:
  RandomStream(uint64_t seed, RandomPurpose purpose, uint64_t a = 0, uint32_t b = 0);

  // 32 uniform bits.
  uint32_t Bits(uint64_t index) const;
  // Uniform in [0, 1): 24 bits, exact in float.
  float Uniform(uint64_t index) const;
  // Four consecutive draws: Bits(4*block) .. Bits(4*block+3).
  std::array<uint32_t, 4> Block(uint64_t block) const;
  // Uniform in [0, bound) without bias worth the name (64-bit multiply-shift). bound >= 1.
  // Uses Bits(2*index) and Bits(2*index+1): a stream is read by Below or by the others, not by both.
  uint64_t Below(uint64_t index, uint64_t bound) const;

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 2> nonce_;
};

// Stable 64-bit hash of a name (FNV-1a), for keys by parameter or layer name.
uint64_t HashName(absl::string_view name);

// A permutation of 0..n-1 (Fisher-Yates), a pure function of the stream.
std::vector<uint32_t> Permutation(uint32_t n, const RandomStream& stream);

}  // namespace tessera

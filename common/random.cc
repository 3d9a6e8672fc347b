#include "common/random.h"

#include <Random123/philox.h>

#include <numeric>
#include <utility>

#include "common/check.h"

namespace tessera {
namespace {

constexpr uint32_t Low(uint64_t word) { return static_cast<uint32_t>(word); }
constexpr uint32_t High(uint64_t word) { return static_cast<uint32_t>(word >> 32); }

// The upper 64 bits of a product of 64-bit factors.
uint64_t MultiplyHigh(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>((static_cast<Wide>(a) * b) >> 64);
}

}  // namespace

std::array<uint32_t, 4> Philox4x32(const std::array<uint32_t, 4>& counter,
                                   const std::array<uint32_t, 2>& key) {
  const r123::Philox4x32::ctr_type result =
      r123::Philox4x32()({{counter[0], counter[1], counter[2], counter[3]}}, {{key[0], key[1]}});
  return {result[0], result[1], result[2], result[3]};
}

// Philox under one key is a bijection of its counters, so no two streams of a seed share both key and nonce.
RandomStream::RandomStream(uint64_t seed, RandomPurpose purpose, uint64_t a, uint32_t b) {
  const std::array<uint32_t, 4> derived =
      Philox4x32({Low(a), High(a), b, static_cast<uint32_t>(purpose)}, {Low(seed), High(seed)});
  key_ = {derived[0], derived[1]};
  nonce_ = {derived[2], derived[3]};
}

std::array<uint32_t, 4> RandomStream::Block(uint64_t block) const {
  return Philox4x32({Low(block), High(block), nonce_[0], nonce_[1]}, key_);
}

uint32_t RandomStream::Bits(uint64_t index) const { return Block(index / 4)[index % 4]; }

float RandomStream::Uniform(uint64_t index) const { return UniformFromBits(Bits(index)); }

uint64_t RandomStream::Below(uint64_t index, uint64_t bound) const {
  TESSERA_CHECK(bound >= 1);
  const std::array<uint32_t, 4> draws = Block(index / 2);
  const size_t first = 2 * (index % 2);
  const uint64_t bits = draws[first] | (static_cast<uint64_t>(draws[first + 1]) << 32);
  return MultiplyHigh(bits, bound);
}

uint64_t HashName(absl::string_view name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char character : name) {
    hash ^= static_cast<unsigned char>(character);
    hash *= 0x100000001b3;
  }
  return hash;
}

std::vector<uint32_t> Permutation(uint32_t n, const RandomStream& stream) {
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0U);
  for (uint32_t remaining = n; remaining > 1; --remaining) {
    std::swap(order[remaining - 1], order[stream.Below(remaining - 1, remaining)]);
  }
  return order;
}

}  // namespace tessera

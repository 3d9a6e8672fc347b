// Inputs made from others, for tests without a fuzzer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace tessera {

using FuzzInput = std::vector<uint8_t>;

// One of `seeds` (one at least) after one to eight changes: flipped bits, extreme numbers, bytes left out,
// doubled or put in, a part of another seed, an early end. Never longer than `most_bytes`. A pure function of
// the state of `random`.
FuzzInput Mutated(const std::vector<FuzzInput>& seeds, size_t most_bytes, std::mt19937& random);

}  // namespace tessera

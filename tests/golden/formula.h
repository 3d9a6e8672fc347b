// Class Formula of make_golden.py: numbers as a pure function of (seed, name, element), so that a test and
// PyTorch work with the same weights and images without sharing a file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/parameter_spec.h"

namespace tessera::golden {

class Formula {
 public:
  // The numbers of one name: SplitMix64 from its key.
  class Stream {
   public:
    explicit Stream(uint64_t key) : key_(key) {}

    uint64_t Bits(uint64_t element) const {
      uint64_t z = key_ + (element + 1) * 0x9E3779B97F4A7C15u;
      z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
      z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
      return z ^ (z >> 31);
    }

    // In [-1, 1), 24 bits.
    double Uniform(uint64_t element) const {
      return static_cast<double>(Bits(element) >> 40) * 0x1p-23 - 1.0;
    }

   private:
    const uint64_t key_;
  };

  explicit Formula(uint64_t seed) : seed_(seed) {}

  // Its key is the FNV-1a hash of "seed/name".
  Stream Of(const std::string& name) const;

  // All elements of a parameter, row-major: uniform with He's variance where it has more than one dimension,
  // batch-norm weights and variances about 1, running means about 0, biases away from 0.
  std::vector<float> Parameter(const ParameterSpec& spec) const;

  // Uniform in [-1, 1).
  std::vector<float> Images(int64_t elements) const;

  std::vector<int32_t> Labels(int64_t count, int64_t classes) const;

 private:
  const uint64_t seed_;
};

}  // namespace tessera::golden

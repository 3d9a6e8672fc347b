#include "tests/fuzz/mutation.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace tessera {
namespace {

constexpr size_t kLongestPart = 64;

class Mutator {
 public:
  Mutator(const std::vector<FuzzInput>& seeds, std::mt19937& random)
      : seeds_(seeds), random_(random), input_(AnySeed()) {}

  FuzzInput Make(size_t most_bytes) {
    for (size_t changes = 1 + Below(8); changes > 0; --changes) Change();
    if (input_.size() > most_bytes) input_.resize(most_bytes);
    return std::move(input_);
  }

 private:
  struct Part {
    size_t begin, end;
  };

  // Below `bound`; 0 for 0.
  size_t Below(size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  const FuzzInput& AnySeed() { return seeds_[Below(seeds_.size())]; }
  Part AnyPart(const FuzzInput& of) {
    const size_t begin = Below(of.size());
    return {begin, std::min(of.size(), begin + 1 + Below(kLongestPart))};
  }
  FuzzInput::iterator Somewhere() { return input_.begin() + static_cast<int64_t>(Below(input_.size() + 1)); }

  void Change() {
    switch (input_.empty() ? 5 : Below(8)) {
      case 0:
        input_[Below(input_.size())] ^= static_cast<uint8_t>(1U << Below(8));
        break;
      case 1:
        input_[Below(input_.size())] = static_cast<uint8_t>(random_());
        break;
      case 2:
        Overwrite();
        break;
      case 3: {
        const Part part = AnyPart(input_);
        input_.erase(input_.begin() + static_cast<int64_t>(part.begin),
                     input_.begin() + static_cast<int64_t>(part.end));
        break;
      }
      case 4:
        Insert(input_);
        break;
      case 5:
        Insert(AnySeed());
        break;
      case 6:
        input_.insert(Somewhere(), static_cast<uint8_t>(random_()));
        break;
      default:
        if (Below(4) == 0) input_.resize(Below(input_.size()));
    }
  }

  // Puts a number that is on some edge over what is there.
  void Overwrite() {
    static constexpr std::array<uint64_t, 8> kEdges = {
        0, 1, 0x7f, 0xff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff};
    const uint64_t edge = kEdges[Below(kEdges.size())] + Below(3) - 1;
    const size_t at = Below(input_.size());
    const size_t width = size_t{1} << Below(4);
    std::memcpy(input_.data() + at, &edge, std::min(width, input_.size() - at));
  }

  void Insert(const FuzzInput& source) {
    if (source.empty()) return;
    const Part part = AnyPart(source);
    const FuzzInput copy(source.begin() + static_cast<int64_t>(part.begin),
                         source.begin() + static_cast<int64_t>(part.end));
    input_.insert(Somewhere(), copy.begin(), copy.end());
  }

  const std::vector<FuzzInput>& seeds_;
  std::mt19937& random_;
  FuzzInput input_;
};

}  // namespace

FuzzInput Mutated(const std::vector<FuzzInput>& seeds, size_t most_bytes, std::mt19937& random) {
  return Mutator(seeds, random).Make(most_bytes);
}

}  // namespace tessera

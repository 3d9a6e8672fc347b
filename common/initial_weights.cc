#include "common/initial_weights.h"

#include <algorithm>

#include "common/check.h"
#include "common/random.h"

namespace tessera {
namespace {

void FillUniform(const RandomStream& stream, float bound, uint64_t first_element, absl::Span<float> out) {
  std::array<uint32_t, 4> draws{};
  for (size_t i = 0; i < out.size(); ++i) {
    const uint64_t element = first_element + i;
    if (i == 0 || element % 4 == 0) draws = stream.Block(element / 4);
    out[i] = (2 * UniformFromBits(draws[element % 4]) - 1) * bound;
  }
}

}  // namespace

void FillInitial(uint64_t seed, const ParameterSpec& parameter, int64_t first_element,
                 absl::Span<float> out) {
  TESSERA_CHECK(first_element >= 0);
  switch (parameter.init.kind) {
    case Initializer::Kind::kConstant:
      std::fill(out.begin(), out.end(), parameter.init.value);
      return;
    case Initializer::Kind::kUniform:
      FillUniform(RandomStream(seed, RandomPurpose::kInitialWeights, HashName(parameter.name)),
                  parameter.init.value, static_cast<uint64_t>(first_element), out);
      return;
  }
}

}  // namespace tessera

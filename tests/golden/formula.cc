#include "tests/golden/formula.h"

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/random.h"

namespace tessera::golden {
namespace {

// `function` of `count` numbers of `stream`.
template <typename Function>
std::vector<float> Fill(const Formula::Stream& stream, int64_t count, Function function) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(function(stream.Uniform(i)));
  return values;
}

}  // namespace

Formula::Stream Formula::Of(const std::string& name) const {
  return Stream(HashName(absl::StrCat(seed_, "/", name)));
}

std::vector<float> Formula::Parameter(const ParameterSpec& spec) const {
  const Stream stream = Of(spec.name);
  const int64_t count = NumElements(spec.shape);
  if (spec.shape.size() > 1) {
    const double bound = std::sqrt(6.0 / static_cast<double>(count / spec.shape[0]));
    return Fill(stream, count, [bound](double u) { return u * bound; });
  }
  if (absl::EndsWith(spec.name, "running_mean")) return Fill(stream, count, [](double u) { return 0.1 * u; });
  if (absl::EndsWith(spec.name, ".weight") || absl::EndsWith(spec.name, "running_var")) {
    return Fill(stream, count, [](double u) { return 1.0 + 0.1 * u; });
  }
  return Fill(stream, count, [](double u) { return u < 0 ? u - 1.0 : u + 1.0; });
}

std::vector<float> Formula::Images(int64_t elements) const {
  return Fill(Of("images"), elements, [](double u) { return u; });
}

std::vector<int32_t> Formula::Labels(int64_t count, int64_t classes) const {
  const Stream stream = Of("labels");
  std::vector<int32_t> labels(static_cast<size_t>(count));
  for (size_t n = 0; n < labels.size(); ++n) labels[n] = static_cast<int32_t>(stream.Bits(n) % classes);
  return labels;
}

}  // namespace tessera::golden

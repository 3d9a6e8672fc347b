#include "config/normalize_field.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "config/field_types.h"
#include "config/key_errors.h"

namespace tessera {
namespace {

constexpr char kPath[] = "data.normalize";
constexpr char kType[] = "`measured` or a map of `mean` and `std`";
constexpr char kMeasured[] = "measured";
// Pixels are from 0 to 1 before, so that anything beyond these is a mistake.
constexpr double kMaxMean = 1000;
constexpr double kMinStd = 1e-6;
constexpr double kMaxStd = 1000;

absl::StatusOr<std::vector<double>> ReadNumbers(const std::string& path, double min, double max,
                                                const YamlNode& value) {
  if (value.is_scalar()) {
    TESSERA_ASSIGN_OR_RETURN(const double number, ReadNumber(path, "numbers", min, max, value));
    return std::vector<double>{number};
  }
  if (!value.is_list() || value.items.empty()) return TypeError(path, "a list of numbers", value);
  std::vector<double> numbers;
  for (const YamlNode& item : value.items) {
    TESSERA_ASSIGN_OR_RETURN(numbers.emplace_back(), ReadNumber(path, "numbers", min, max, item));
  }
  return numbers;
}

absl::Status ReadEntry(const YamlEntry& entry, NormalizeSpec& normalize) {
  const std::string path = absl::StrCat(kPath, ".", entry.key);
  if (entry.key == "mean") {
    TESSERA_ASSIGN_OR_RETURN(normalize.mean, ReadNumbers(path, -kMaxMean, kMaxMean, entry.value));
    return absl::OkStatus();
  }
  if (entry.key == "std") {
    TESSERA_ASSIGN_OR_RETURN(normalize.std, ReadNumbers(path, kMinStd, kMaxStd, entry.value));
    return absl::OkStatus();
  }
  return UnknownKeyError(kPath, entry, {"mean", "std"});
}

absl::StatusOr<NormalizeSpec> ReadNormalize(const YamlNode& value) {
  if (value.is_scalar() && value.text == kMeasured) return NormalizeSpec();
  if (!value.is_map()) return TypeError(kPath, kType, value);
  NormalizeSpec normalize{.measured = false};
  for (const YamlEntry& entry : value.entries) TESSERA_RETURN_IF_ERROR(ReadEntry(entry, normalize));
  for (const char* key : {"mean", "std"}) {
    if (value.Find(key) == nullptr) return MissingKeyError(kPath, key, value);
  }
  if (normalize.mean.size() == normalize.std.size()) return normalize;
  return ErrorAt(value.where, absl::StrCat("`", kPath, "` has ", normalize.mean.size(), " means and ",
                                           normalize.std.size(), " standard deviations"));
}

YamlNode WriteNumbers(const std::vector<double>& numbers) {
  std::vector<std::string> texts;
  for (const double number : numbers) texts.push_back(FormatNumber(number));
  return YamlNode::List(texts);
}

YamlNode WriteNormalize(const JobSpec& job) {
  const NormalizeSpec& normalize = job.data.normalize;
  if (normalize.measured) return YamlNode::Scalar(kMeasured);
  YamlNode map = YamlNode::Map();
  map.entries.push_back({"mean", "", WriteNumbers(normalize.mean)});
  map.entries.push_back({"std", "", WriteNumbers(normalize.std)});
  return map;
}

}  // namespace

Field NormalizeField() {
  Field field{
      .path = kPath,
      .type = kType,
      .text =
          "Inputs are (pixel / 255 - mean) / std for each channel: measured over the training images, or "
          "given as one number per channel."};
  field.read = [](const YamlNode& value, JobSpec& job) {
    TESSERA_ASSIGN_OR_RETURN(job.data.normalize, ReadNormalize(value));
    return absl::OkStatus();
  };
  field.write = WriteNormalize;
  return field;
}

}  // namespace tessera

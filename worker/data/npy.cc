#include "worker/data/npy.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "common/status.h"

namespace tessera {
namespace {

constexpr int64_t kMaxClasses = 1 << 20;
constexpr double kDefaultPart = 0.8;

// NAME=FILE.
struct NamedFile {
  std::string name, path;
};

absl::StatusOr<std::vector<NamedFile>> ReadNamedFiles(Options* options) {
  TESSERA_ASSIGN_OR_RETURN(const std::vector<std::string> texts, options->StringList("inputs"));
  if (texts.empty()) return options->Error("inputs", "missing `inputs`: a list of NAME=FILE");
  std::vector<NamedFile> files;
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos || equals + 1 == text.size()) {
      return options->Error("inputs", absl::StrCat("an input is NAME=FILE, unlike `", text, "`"));
    }
    files.push_back({text.substr(0, equals), text.substr(equals + 1)});
  }
  return files;
}

// The shape of one sample of an array.
absl::StatusOr<Shape> SampleShape(const Shape& array) {
  switch (array.size()) {
    case 2:
      return Shape{array[1]};
    case 3:
      return Shape{1, array[1], array[2]};
    case 4:
      return Shape{array[1], array[2], array[3]};
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("an array ", ToString(array), ", not [N,F], [N,H,W] or [N,C,H,W]"));
  }
}

absl::Status CheckFinite(absl::Span<const float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    return absl::InvalidArgumentError(absl::StrCat("element ", i, " is not finite in float32"));
  }
  return absl::OkStatus();
}

absl::Status CheckInputValues(const NpyArray& array) {
  if (array.shape[0] > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("too many samples: ", array.shape[0]));
  }
  if (const auto* numbers = std::get_if<std::vector<float>>(&array.values)) return CheckFinite(*numbers);
  if (std::holds_alternative<std::vector<uint8_t>>(array.values)) return absl::OkStatus();
  return absl::InvalidArgumentError("whole numbers; an input is uint8, float32 or float64");
}

absl::StatusOr<std::vector<int64_t>> LabelsOf(NpyArray array) {
  if (array.shape.size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat("an array ", ToString(array.shape), "; labels are [N]"));
  }
  if (const auto* bytes = std::get_if<std::vector<uint8_t>>(&array.values)) {
    return std::vector<int64_t>(bytes->begin(), bytes->end());
  }
  auto* labels = std::get_if<std::vector<int64_t>>(&array.values);
  if (labels == nullptr) return absl::InvalidArgumentError("labels are int32, int64 or uint8");
  for (size_t i = 0; i < labels->size(); ++i) {
    const int64_t label = (*labels)[i];
    if (label >= 0 && label < kMaxClasses) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("label ", label, " of sample ", i, " is not in 0..", kMaxClasses - 1));
  }
  return std::move(*labels);
}

bool IsSameFile(const std::string& a, const std::string& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> NpyDataset::Create(Options options) {
  std::unique_ptr<NpyDataset> dataset(new NpyDataset);
  TESSERA_ASSIGN_OR_RETURN(const std::vector<NamedFile> files, ReadNamedFiles(&options));
  TESSERA_ASSIGN_OR_RETURN(dataset->label_path_, options.RequiredString("labels"));
  TESSERA_ASSIGN_OR_RETURN(dataset->split_, ReadSplit(&options));
  TESSERA_RETURN_IF_ERROR(options.Finish("data format `npy`"));
  for (const NamedFile& file : files) {
    const absl::Status status = dataset->ReadInput(file.name, file.path);
    if (!status.ok()) return absl::Status(status.code(), options.Error("inputs", status.message()).message());
  }
  const absl::Status status = dataset->ReadLabels(dataset->label_path_);
  if (!status.ok()) return absl::Status(status.code(), options.Error("labels", status.message()).message());
  for (size_t k = 0; k < files.size(); ++k) {
    const auto samples = static_cast<size_t>(dataset->arrays_[k].shape[0]);
    if (samples == dataset->labels_.size()) continue;
    return absl::DataLossError(absl::StrCat(files[k].path, " has ", samples, " samples, ",
                                            dataset->label_path_, " has ", dataset->labels_.size(),
                                            " labels"));
  }
  TESSERA_RETURN_IF_ERROR(dataset->Cut(options));
  return dataset;
}

absl::StatusOr<NpyDataset::Split> NpyDataset::ReadSplit(Options* options) {
  Split split;
  const bool is_cut = options->Has("split");
  TESSERA_ASSIGN_OR_RETURN(split.name, options->String("split", ""));
  if (is_cut && split.name != "train" && split.name != "test") {
    return options->Error("split", absl::StrCat("`split` must be train or test, not `", split.name, "`"));
  }
  for (const char* key : {"part", "split_seed"}) {
    if (options->Has(key) && !is_cut) {
      return options->Error(key, absl::StrCat("`", key, "` says how `split` cuts, and there is no `split`"));
    }
  }
  constexpr double kTiny = 1e-9;
  TESSERA_ASSIGN_OR_RETURN(split.part, options->Number("part", kDefaultPart, kTiny, 1 - kTiny));
  TESSERA_ASSIGN_OR_RETURN(const int64_t seed,
                           options->Integer("split_seed", 1, 0, std::numeric_limits<int64_t>::max()));
  split.seed = static_cast<uint64_t>(seed);
  return split;
}

absl::Status NpyDataset::ReadInput(const std::string& name, const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(NpyArray array, ReadNpyFile(path));
  absl::StatusOr<Shape> shape = SampleShape(array.shape);
  if (!shape.ok()) return Annotate(shape.status(), path);
  TESSERA_RETURN_IF_ERROR(Annotate(CheckInputValues(array), path));
  inputs_.push_back({name, *std::move(shape)});
  arrays_.push_back(std::move(array));
  return absl::OkStatus();
}

absl::Status NpyDataset::ReadLabels(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(NpyArray array, ReadNpyFile(path));
  absl::StatusOr<std::vector<int64_t>> labels = LabelsOf(std::move(array));
  if (!labels.ok()) return Annotate(labels.status(), path);
  labels_ = *std::move(labels);
  classes_ = static_cast<int32_t>(1 + *std::max_element(labels_.begin(), labels_.end()));
  return absl::OkStatus();
}

absl::Status NpyDataset::Cut(const Options& options) {
  const auto count = static_cast<uint32_t>(labels_.size());
  if (split_.name.empty()) {
    for (uint32_t sample = 0; sample < count; ++sample) samples_.push_back(sample);
    return absl::OkStatus();
  }
  const std::vector<uint32_t> order =
      Permutation(count, RandomStream(split_.seed, RandomPurpose::kSampleOrder, HashName("npy split")));
  const auto cut = order.begin() + static_cast<int64_t>(std::floor(split_.part * count));
  samples_ = split_.name == "train" ? std::vector<uint32_t>(order.begin(), cut)
                                    : std::vector<uint32_t>(cut, order.end());
  if (!samples_.empty()) return absl::OkStatus();
  return options.Error("split", absl::StrCat("`split: ", split_.name, "` has no sample of the ", count));
}

int32_t NpyDataset::Label(uint32_t index) const { return static_cast<int32_t>(labels_[samples_[index]]); }

InputValues NpyDataset::Values(uint32_t index, size_t input) const {
  const auto length = static_cast<size_t>(NumElements(inputs_[input].shape));
  const size_t begin = samples_[index] * length;
  if (const auto* pixels = std::get_if<std::vector<uint8_t>>(&arrays_[input].values)) {
    return absl::MakeConstSpan(*pixels).subspan(begin, length);
  }
  return absl::MakeConstSpan(std::get<std::vector<float>>(arrays_[input].values)).subspan(begin, length);
}

absl::Status NpyDataset::CheckBeside(const Dataset& train) const {
  const auto* other = dynamic_cast<const NpyDataset*>(&train);
  if (other == nullptr || (split_.name.empty() && other->split_.name.empty()) ||
      !IsSameFile(label_path_, other->label_path_)) {
    return absl::OkStatus();
  }
  const bool apart = split_.name != other->split_.name && split_.part == other->split_.part &&
                     split_.seed == other->split_.seed && !split_.name.empty() && !other->split_.name.empty();
  if (apart) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "samples to test on may be samples to train on: of the same files, `data.train` takes `split: train` "
      "and "
      "`data.test` takes `split: test`, with the same `part` and `split_seed`");
}

namespace {
const DatasetRegistry::Entry kEntry("npy", &NpyDataset::Create);
}  // namespace

}  // namespace tessera

#include "common/starting_weights.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/initial_weights.h"
#include "common/options.h"
#include "common/sha256.h"
#include "common/status.h"

namespace tessera {
namespace {

constexpr char kKey[] = "model.weights";
constexpr size_t kMostListed = 10;

// "a, b, c and 7 more".
std::string List(std::vector<std::string> items) {
  const size_t more = items.size() <= kMostListed ? 0 : items.size() - kMostListed;
  items.resize(items.size() - more);
  return absl::StrCat(absl::StrJoin(items, ", "), more == 0 ? "" : absl::StrCat(" and ", more, " more"));
}

// `layer` and what it lies in: layer1.0.bn1, layer1.0, layer1.
void AddPrefixes(std::string layer, std::set<std::string>& names) {
  while (true) {
    names.insert(layer);
    const size_t dot = layer.rfind('.');
    if (dot == std::string::npos) return;
    layer.resize(dot);
  }
}

bool IsAtOrBelow(const std::string& layer, const std::string& name) {
  return layer == name || absl::StartsWith(layer, absl::StrCat(name, "."));
}

std::string FileName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

StartingWeights::StartingWeights(StartingWeightsOptions options, ShardLayout layout, SafetensorsFile file)
    : options_(std::move(options)), layout_(std::move(layout)), file_(std::move(file)) {}

absl::StatusOr<StartingWeights> StartingWeights::Create(const StartingWeightsOptions& options,
                                                        ShardLayout layout) {
  absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(options.path);
  if (!file.ok()) return Annotate(file.status(), kKey);
  StartingWeights weights(options, std::move(layout), *std::move(file));
  TESSERA_RETURN_IF_ERROR(weights.CheckReplace());
  TESSERA_RETURN_IF_ERROR(weights.Match());
  return weights;
}

absl::Status StartingWeights::Match() {
  std::vector<std::string> fresh;
  std::vector<std::string> misfits;
  std::vector<std::string> layers;  // of the misfits
  size_t count = 0;
  for (const ParameterBlock& block : layout_.blocks()) {
    for (const ParameterSpec& parameter : block.parameters) {
      ++count;
      const std::string misfit = Misfit(parameter);
      if (StartsAfresh(block.layer)) {
        fresh.push_back(DescribeFresh(parameter));
      } else if (!misfit.empty()) {
        misfits.push_back(misfit);
        if (layers.empty() || layers.back() != block.layer) layers.push_back(block.layer);
      }
    }
  }
  if (!misfits.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(kKey, ": ", options_.path, " does not fit the network: ", List(misfits),
                     "; what is to start afresh is named in model.replace: [", List(layers), "]"));
  }
  summary_ = absl::StrCat(FileName(options_.path), ": ", count - fresh.size(), " of ", count, " tensors",
                          fresh.empty() ? "" : absl::StrCat("; starts afresh: ", List(fresh)));
  const std::vector<std::string> unused = Unused();
  if (!unused.empty()) {
    warning_ =
        absl::StrCat(FileName(options_.path), ": ", unused.size(),
                     unused.size() == 1 ? " tensor fits" : " tensors fit", " no parameter: ", List(unused));
  }
  return absl::OkStatus();
}

absl::Status StartingWeights::CheckReplace() const {
  std::set<std::string> known;
  for (const ParameterBlock& block : layout_.blocks()) AddPrefixes(block.layer, known);
  for (const std::string& name : options_.replace) {
    if (known.count(name) > 0) continue;
    const std::string nearest = NearestName(name, {known.begin(), known.end()});
    return absl::InvalidArgumentError(
        absl::StrCat("model.replace: no layer with parameters is named `", name, "`",
                     nearest.empty() ? "" : absl::StrCat("; did you mean `", nearest, "`?")));
  }
  return absl::OkStatus();
}

bool StartingWeights::StartsAfresh(const std::string& layer) const {
  return std::any_of(options_.replace.begin(), options_.replace.end(),
                     [&](const std::string& name) { return IsAtOrBelow(layer, name); });
}

// Why the file cannot give `parameter`, or "".
std::string StartingWeights::Misfit(const ParameterSpec& parameter) const {
  const auto found = file_.tensors().find(parameter.name);
  if (found == file_.tensors().end()) return absl::StrCat(parameter.name, " is missing");
  const SafetensorsFile::Tensor& tensor = found->second;
  if (tensor.shape != parameter.shape) {
    return absl::StrCat(parameter.name, " is ", ToString(tensor.shape), ", not ", ToString(parameter.shape));
  }
  return SafetensorsFile::IsFloat(tensor.dtype) ? ""
                                                : absl::StrCat(parameter.name, " is of dtype ", tensor.dtype);
}

std::string StartingWeights::DescribeFresh(const ParameterSpec& parameter) const {
  const auto found = file_.tensors().find(parameter.name);
  const std::string text = absl::StrCat(parameter.name, " ", ToString(parameter.shape));
  if (found == file_.tensors().end()) return absl::StrCat(text, " (not in the file)");
  if (found->second.shape == parameter.shape) return text;
  return absl::StrCat(text, " (file: ", ToString(found->second.shape), ")");
}

std::vector<std::string> StartingWeights::Unused() const {
  std::set<std::string> known;
  for (const ParameterBlock& block : layout_.blocks()) {
    for (const ParameterSpec& parameter : block.parameters) known.insert(parameter.name);
  }
  std::vector<std::string> unused;
  for (const auto& [name, tensor] : file_.tensors()) {
    if (known.count(name) == 0 && !absl::EndsWith(name, "num_batches_tracked")) unused.push_back(name);
  }
  return unused;
}

absl::Status StartingWeights::Fill(ShardId shard, absl::Span<float> out) const {
  const ParameterBlock& block = layout_.blocks()[layout_.shards()[shard].block];
  const bool fresh = StartsAfresh(block.layer);
  for (const ShardSegment& segment : layout_.Segments(shard)) {
    const ParameterSpec& parameter = block.parameters[segment.parameter];
    const absl::Span<float> values = out.subspan(segment.shard_offset, segment.length);
    if (fresh) {
      FillInitial(options_.seed, parameter, segment.parameter_offset, values);
    } else {
      TESSERA_RETURN_IF_ERROR(Annotate(file_.Read(parameter.name, segment.parameter_offset, values), kKey));
    }
  }
  return absl::OkStatus();
}

uint64_t ShardDigest(absl::Span<const float> values) {
  Sha256 sha256;
  sha256.Add(values);
  uint64_t first = 0;
  std::memcpy(&first, sha256.Digest().data(), sizeof(first));
  return first;
}

}  // namespace tessera

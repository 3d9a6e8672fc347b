#include "common/checkpoint/checkpoint_manifest.h"

#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/checkpoint/json_object.h"
#include "common/file.h"
#include "common/status.h"

namespace tessera {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMaxFileBytes = 256 << 20;        // of a manifest
constexpr int64_t kMaxElements = int64_t{1} << 50;  // of a model: what follows from it does not overflow
constexpr int64_t kMaxShardBytes = int64_t{1} << 50;
constexpr size_t kDigestBytes = 32;
constexpr char kVersionKey[] = "format_version";
constexpr char kTimeFormat[] = "%Y-%m-%dT%H:%M:%SZ";

Json ToJson(const ParameterSpec& parameter) {
  return {{"name", parameter.name},
          {"shape", parameter.shape},
          {"uniform", parameter.init.kind == Initializer::Kind::kUniform},
          {"value", parameter.init.value}};
}

Json ToJson(const ParameterBlock& block) {
  Json parameters = Json::array();
  for (const ParameterSpec& parameter : block.parameters) parameters.push_back(ToJson(parameter));
  return {{"layer", block.layer},
          {"statistic", block.kind == ParameterKind::kStatistic},
          {"parameters", std::move(parameters)}};
}

Json ToJson(const CheckpointFileInfo& file) {
  return {{"name", file.name},
          {"bytes", file.bytes},
          {"sha256", absl::BytesToHexString(file.sha256)},
          {"shards", file.shards}};
}

template <typename T>
Json ToJsonList(const std::vector<T>& items) {
  Json list = Json::array();
  for (const T& item : items) list.push_back(ToJson(item));
  return list;
}

// Takes the elements of `shape` off those that a model may still have; false: it has more.
bool TakeElements(const Shape& shape, int64_t& left) {
  int64_t elements = 1;
  for (const int64_t dimension : shape) {
    if (dimension > left / elements) return false;
    elements *= dimension;
  }
  left -= elements;
  return left >= 0;
}

absl::StatusOr<ParameterSpec> ParseParameter(const Json& json, const std::string& where, int64_t& left) {
  JsonObject object(json, where);
  ParameterSpec parameter;
  parameter.name = object.Text("name");
  parameter.shape = object.Integers("shape", 1, kMaxElements);
  parameter.init.kind = object.Bool("uniform") ? Initializer::Kind::kUniform : Initializer::Kind::kConstant;
  const double value = object.Number("value");
  if (std::abs(value) > std::numeric_limits<float>::max()) object.Refuse("value", "is no float32");
  TESSERA_RETURN_IF_ERROR(object.status());
  parameter.init.value = static_cast<float>(value);
  if (!TakeElements(parameter.shape, left)) object.Refuse("shape", "is too large");
  TESSERA_RETURN_IF_ERROR(object.Finish());
  return parameter;
}

absl::StatusOr<ParameterBlock> ParseBlock(const Json& json, const std::string& where, int64_t& left) {
  JsonObject object(json, where);
  ParameterBlock block;
  block.layer = object.Text("layer");
  block.kind = object.Bool("statistic") ? ParameterKind::kStatistic : ParameterKind::kWeight;
  const Json::array_t& parameters = object.List("parameters");
  TESSERA_RETURN_IF_ERROR(object.Finish());
  for (size_t i = 0; i < parameters.size(); ++i) {
    TESSERA_ASSIGN_OR_RETURN(ParameterSpec parameter,
                             ParseParameter(parameters[i], object.ElementName("parameters", i), left));
    parameter.kind = block.kind;
    block.parameters.push_back(std::move(parameter));
  }
  return block;
}

absl::StatusOr<ShardLayout> ParseLayout(JsonObject& object, int64_t shard_bytes) {
  const Json::array_t& list = object.List("blocks");
  int64_t left = kMaxElements;
  std::vector<ParameterBlock> blocks;
  for (size_t i = 0; i < list.size(); ++i) {
    TESSERA_ASSIGN_OR_RETURN(blocks.emplace_back(),
                             ParseBlock(list[i], object.ElementName("blocks", i), left));
  }
  absl::StatusOr<ShardLayout> layout = ShardLayout::Create(std::move(blocks), shard_bytes);
  if (!layout.ok()) return absl::DataLossError(absl::StrCat("`blocks`: ", layout.status().message()));
  return layout;
}

bool IsDigest(const std::string& hex) {
  return hex.size() == 2 * kDigestBytes && hex.find_first_not_of("0123456789abcdef") == std::string::npos;
}

absl::StatusOr<CheckpointFileInfo> ParseFile(const Json& json, const std::string& where, int64_t shards) {
  JsonObject object(json, where);
  CheckpointFileInfo file;
  file.name = object.Text("name");
  if (!IsCheckpointFileName(file.name)) object.Refuse("name", "is no plain file name");
  file.bytes = object.Integer("bytes", 0, kMax);
  const std::string digest = object.Text("sha256");
  if (!IsDigest(digest)) object.Refuse("sha256", "is not 64 hexadecimal digits");
  for (const int64_t shard : object.Integers("shards", 0, shards - 1)) {
    if (!file.shards.empty() && shard <= file.shards.back()) object.Refuse("shards", "does not ascend");
    file.shards.push_back(static_cast<ShardId>(shard));
  }
  TESSERA_RETURN_IF_ERROR(object.Finish());
  file.sha256 = absl::HexStringToBytes(digest);
  return file;
}

absl::StatusOr<std::vector<CheckpointFileInfo>> ParseFiles(JsonObject& object, int64_t shards) {
  std::vector<CheckpointFileInfo> files;
  std::set<std::string> names;
  const Json::array_t& list = object.List("files");
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = object.ElementName("files", i);
    TESSERA_ASSIGN_OR_RETURN(CheckpointFileInfo file, ParseFile(list[i], where, shards));
    if (!names.insert(file.name).second) {
      return absl::DataLossError(absl::StrCat("`", where, ".name` is there twice"));
    }
    files.push_back(std::move(file));
  }
  return files;
}

absl::Time ParseTime(JsonObject& object, const char* key) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(kTimeFormat, object.Text(key), &time, &error)) {
    object.Refuse(key, "is not a time as 2026-01-31T12:00:00Z");
  }
  return time;
}

// Before anything else is asked for: another version has other keys.
absl::Status CheckVersion(JsonObject& object, const Json& json) {
  const int64_t version = object.Integer(kVersionKey, 0, kMax);
  if (!json.contains(kVersionKey) || version == CheckpointManifest::kFormatVersion) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("format version ", json[kVersionKey].dump(),
                                               ", this program reads ", CheckpointManifest::kFormatVersion));
}

}  // namespace

absl::StatusOr<std::string> FormatManifest(const CheckpointManifest& manifest) {
  const Json json = {{kVersionKey, CheckpointManifest::kFormatVersion},
                     {"job", manifest.job},
                     {"clock", manifest.clock},
                     {"steps_per_epoch", manifest.steps_per_epoch},
                     {"epochs", manifest.epochs},
                     {"rewind", manifest.rewind},
                     {"mode", manifest.mode},
                     {"job_yaml", manifest.job_yaml},
                     {"shard_bytes", manifest.shard_bytes},
                     {"blocks", ToJsonList(manifest.layout.blocks())},
                     {"files", ToJsonList(manifest.files)},
                     {"created", absl::FormatTime(kTimeFormat, manifest.created, absl::UTCTimeZone())}};
  try {
    return absl::StrCat(json.dump(1), "\n");
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("a text of the manifest is not UTF-8: ", error.what()));
  }
}

absl::StatusOr<CheckpointManifest> ParseManifest(const std::string& text) {
  TESSERA_ASSIGN_OR_RETURN(const Json json, ParseStrictJson(text));
  JsonObject object(json, "");
  TESSERA_RETURN_IF_ERROR(CheckVersion(object, json));
  CheckpointManifest manifest;
  manifest.job = object.Text("job");
  manifest.clock = object.Integer("clock", 0, kMax);
  manifest.steps_per_epoch = object.Integer("steps_per_epoch", 1, kMax);
  manifest.epochs = object.Integer("epochs", 0, kMax);
  manifest.rewind = object.Integer("rewind", 0, kMax);
  manifest.mode = object.Text("mode");
  manifest.job_yaml = object.Text("job_yaml");
  manifest.shard_bytes = object.Integer("shard_bytes", sizeof(float), kMaxShardBytes);
  manifest.created = ParseTime(object, "created");
  TESSERA_RETURN_IF_ERROR(object.status());
  TESSERA_ASSIGN_OR_RETURN(manifest.layout, ParseLayout(object, manifest.shard_bytes));
  const auto shards = static_cast<int64_t>(manifest.layout.shards().size());
  TESSERA_ASSIGN_OR_RETURN(manifest.files, ParseFiles(object, shards));
  TESSERA_RETURN_IF_ERROR(object.Finish());
  return manifest;
}

absl::Status WriteManifest(const std::string& folder, const CheckpointManifest& manifest) {
  const std::string path = absl::StrCat(folder, "/", kManifestName);
  const absl::StatusOr<std::string> text = FormatManifest(manifest);
  if (!text.ok()) return Annotate(text.status(), path);
  const absl::Span<const uint8_t> piece(reinterpret_cast<const uint8_t*>(text->data()), text->size());
  return WriteFileAtomically(path, {piece});
}

absl::StatusOr<CheckpointManifest> ReadManifest(const std::string& folder) {
  TESSERA_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(absl::StrCat(folder, "/", kManifestName)));
  if (file.size() > kMaxFileBytes) {
    return absl::DataLossError(absl::StrCat(file.path(), ": ", file.size(), " bytes are no manifest"));
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  TESSERA_RETURN_IF_ERROR(file.ReadAt(0, {reinterpret_cast<uint8_t*>(text.data()), text.size()}));
  absl::StatusOr<CheckpointManifest> manifest = ParseManifest(text);
  if (!manifest.ok()) return Annotate(manifest.status(), file.path());
  return manifest;
}

}  // namespace tessera

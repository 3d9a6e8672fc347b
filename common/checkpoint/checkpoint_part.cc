#include "common/checkpoint/checkpoint_part.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/checkpoint/json_object.h"
#include "common/file.h"
#include "common/safetensors.h"
#include "common/safetensors_file.h"
#include "common/sha256.h"
#include "common/status.h"

namespace tessera {
namespace {

using Json = nlohmann::json;

constexpr char kMetadataKey[] = "tessera_checkpoint";
constexpr char kFormat[] = "format";
constexpr int64_t kFormatVersion = 1;
constexpr size_t kMaxNameBytes = 200;
constexpr size_t kReadBytes = 1 << 20;  // at a time, for the digest
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

absl::Span<const uint8_t> AsBytes(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
absl::Span<const uint8_t> AsBytes(absl::Span<const float> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)};
}

std::string WeightsName(const std::string& shard) { return absl::StrCat(shard, "/weights"); }
std::string SlotName(const std::string& shard, const std::string& slot) {
  return absl::StrCat(shard, "/slots/", slot);
}

bool IsInLayout(const ShardLayout& layout, ShardId shard) {
  return shard >= 0 && static_cast<size_t>(shard) < layout.shards().size();
}

// Writing.

absl::Status AddView(const std::string& name, const Shard& shard, const SharedTensor& values,
                     TensorViews& views) {
  if (values == nullptr || static_cast<int64_t>(values->size()) != shard.length) {
    return absl::InvalidArgumentError(absl::StrCat(
        "`", name, "` has ", values == nullptr ? 0 : values->size(), " elements, the shard ", shard.length));
  }
  if (views.emplace(name, TensorView{{shard.length}, values->span()}).second) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("`", name, "` is there twice"));
}

absl::StatusOr<TensorViews> ViewsOf(const ShardLayout& layout, absl::Span<const ShardSnapshot> shards) {
  TensorViews views;
  for (const ShardSnapshot& snapshot : shards) {
    if (!IsInLayout(layout, snapshot.shard)) {
      return absl::InvalidArgumentError(absl::StrCat("shard ", snapshot.shard, " is none of the model's"));
    }
    const Shard& shard = layout.shards()[snapshot.shard];
    const std::string name = layout.Describe(shard.id);
    TESSERA_RETURN_IF_ERROR(AddView(WeightsName(name), shard, snapshot.weights, views));
    for (const ShardSnapshot::Slot& slot : snapshot.slots) {
      TESSERA_RETURN_IF_ERROR(AddView(SlotName(name, slot.name), shard, slot.values, views));
    }
  }
  return views;
}

Json ToJson(const ShardSnapshot& snapshot) {
  Json slots = Json::array();
  for (const ShardSnapshot::Slot& slot : snapshot.slots) slots.push_back(slot.name);
  return {{"shard", snapshot.shard},
          {"version", snapshot.version},
          {"applied_pushes", snapshot.applied_pushes},
          {"group_clocks", snapshot.policy.group_clocks},
          {"replica_clocks", snapshot.policy.replica_clocks},
          {"applied", snapshot.policy.applied},
          {"dropped", snapshot.policy.dropped},
          {"slots", std::move(slots)}};
}

absl::StatusOr<std::string> FormatShards(absl::Span<const ShardSnapshot> shards) {
  Json list = Json::array();
  for (const ShardSnapshot& snapshot : shards) list.push_back(ToJson(snapshot));
  try {
    return Json{{kFormat, kFormatVersion}, {"shards", std::move(list)}}.dump();
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("a slot's name is not UTF-8: ", error.what()));
  }
}

// The bytes of the file, in order, with the preamble that the first piece refers to.
struct PartBytes {
  std::string preamble;
  std::vector<absl::Span<const uint8_t>> tensors;
};

absl::StatusOr<PartBytes> BytesOf(const ShardLayout& layout, absl::Span<const ShardSnapshot> shards) {
  TESSERA_ASSIGN_OR_RETURN(const TensorViews views, ViewsOf(layout, shards));
  TESSERA_ASSIGN_OR_RETURN(std::string metadata, FormatShards(shards));
  PartBytes bytes;
  TESSERA_ASSIGN_OR_RETURN(bytes.preamble, SafetensorsPreamble(views, {{kMetadataKey, std::move(metadata)}}));
  for (const auto& [name, view] : views) bytes.tensors.push_back(AsBytes(view.values));
  return bytes;
}

std::vector<ShardId> AscendingIds(absl::Span<const ShardSnapshot> shards) {
  std::vector<ShardId> ids;
  for (const ShardSnapshot& snapshot : shards) ids.push_back(snapshot.shard);
  std::sort(ids.begin(), ids.end());
  return ids;
}

// Reading.

absl::Status CheckName(const std::string& folder, const std::string& name) {
  if (IsCheckpointFileName(name)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(folder, ": `", absl::CHexEscape(name), "` names no file of a checkpoint"));
}

absl::StatusOr<std::string> DigestOf(const InputFile& file) {
  Sha256 digest;
  std::vector<uint8_t> buffer(static_cast<size_t>(std::min<int64_t>(kReadBytes, file.size())));
  for (int64_t done = 0; done < file.size();) {
    const auto bytes = static_cast<size_t>(std::min(static_cast<int64_t>(buffer.size()), file.size() - done));
    const absl::Span<uint8_t> piece = absl::MakeSpan(buffer).subspan(0, bytes);
    TESSERA_RETURN_IF_ERROR(file.ReadAt(done, piece));
    digest.Add(piece);
    done += static_cast<int64_t>(bytes);
  }
  return digest.Digest();
}

// All of a snapshot but its tensors, and the names of its slots.
struct Record {
  ShardSnapshot snapshot;
  std::vector<std::string> slots;
};
using Records = std::map<ShardId, Record>;

absl::StatusOr<Record> ParseRecord(const Json& json, const std::string& where) {
  JsonObject object(json, where);
  Record record;
  ShardSnapshot& snapshot = record.snapshot;
  snapshot.shard = static_cast<ShardId>(object.Integer("shard", 0, ShardLayout::kMaxShards - 1));
  snapshot.version = object.Integer("version", 0, kMax);
  snapshot.applied_pushes = object.Integer("applied_pushes", 0, kMax);
  snapshot.policy.group_clocks = object.Integers("group_clocks", 0, kMax);
  snapshot.policy.replica_clocks = object.Integers("replica_clocks", 0, kMax);
  snapshot.policy.applied = object.Integers("applied", 0, kMax);
  snapshot.policy.dropped = object.Integer("dropped", 0, kMax);
  for (const Json& slot : object.List("slots")) {
    if (!slot.is_string()) object.Refuse("slots", "has something else than names");
    record.slots.push_back(slot.is_string() ? slot.get<std::string>() : "");
  }
  TESSERA_RETURN_IF_ERROR(object.Finish());
  return record;
}

absl::StatusOr<Records> ParseRecords(const SafetensorsFile& file) {
  const auto text = file.metadata().find(kMetadataKey);
  if (text == file.metadata().end()) return absl::DataLossError("is no part of a checkpoint");
  TESSERA_ASSIGN_OR_RETURN(const Json json, ParseStrictJson(text->second));
  JsonObject object(json, "");
  const int64_t format = object.Integer(kFormat, 0, kMax);
  if (format != kFormatVersion) {
    object.Refuse(kFormat, absl::StrCat("is ", format, ", this program reads ", kFormatVersion));
  }
  Records records;
  const Json::array_t& shards = object.List("shards");
  for (size_t i = 0; i < shards.size(); ++i) {
    TESSERA_ASSIGN_OR_RETURN(Record record, ParseRecord(shards[i], object.ElementName("shards", i)));
    const ShardId id = record.snapshot.shard;
    if (!records.emplace(id, std::move(record)).second) {
      return absl::DataLossError(absl::StrCat("has shard ", id, " twice"));
    }
  }
  TESSERA_RETURN_IF_ERROR(object.Finish());
  return records;
}

// The file's tensors are those of its records, and each as long as its shard.
absl::Status CheckTensors(const SafetensorsFile& file, const Records& records, const ShardLayout& layout) {
  std::set<std::string> names;
  for (const auto& [id, record] : records) {
    const std::string shard = layout.Describe(id);
    std::vector<std::string> tensors = {WeightsName(shard)};
    for (const std::string& slot : record.slots) tensors.push_back(SlotName(shard, slot));
    for (const std::string& name : tensors) {
      const auto found = file.tensors().find(name);
      if (found == file.tensors().end()) return absl::DataLossError(absl::StrCat("has no `", name, "`"));
      if (found->second.dtype != "F32" || found->second.shape != Shape{layout.shards()[id].length}) {
        return absl::DataLossError(absl::StrCat("`", name, "` is ", found->second.dtype, " ",
                                                ToString(found->second.shape), ", the shard has ",
                                                layout.shards()[id].length, " elements"));
      }
      if (!names.insert(name).second) return absl::DataLossError(absl::StrCat("has `", name, "` twice"));
    }
  }
  if (names.size() == file.tensors().size()) return absl::OkStatus();
  return absl::DataLossError("has tensors that belong to no shard");
}

absl::Status CheckShards(const CheckpointFileInfo& info, const Records& records, const ShardLayout& layout) {
  std::set<ShardId> expected(info.shards.begin(), info.shards.end());
  if (expected.size() != info.shards.size()) return absl::DataLossError("is to have a shard twice");
  for (const auto& [id, record] : records) {
    if (!IsInLayout(layout, id)) {
      return absl::DataLossError(absl::StrCat("has shard ", id, ", which is none of the model's"));
    }
    if (expected.erase(id) == 0) {
      return absl::DataLossError(absl::StrCat("has ", layout.Describe(id), ", which it is not to have"));
    }
  }
  if (expected.empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("does not have shard ", *expected.begin()));
}

// A part whose bytes are those that were written, and whose header and records fit the layout.
class Part {
 public:
  static absl::StatusOr<Part> Open(const std::string& folder, const CheckpointFileInfo& info,
                                   const ShardLayout& layout) {
    TESSERA_RETURN_IF_ERROR(VerifyCheckpointFile(folder, info));
    const std::string path = absl::StrCat(folder, "/", info.name);
    absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(path);
    if (!file.ok()) return Damaged(file.status());
    absl::StatusOr<Records> records = ParseRecords(*file);
    absl::Status status = records.status();
    if (status.ok()) status = CheckShards(info, *records, layout);
    if (status.ok()) status = CheckTensors(*file, *records, layout);
    if (!status.ok()) return Annotate(status, path);
    return Part(*std::move(file), *std::move(records));
  }

  // One that the file has.
  absl::StatusOr<ShardSnapshot> Read(const ShardLayout& layout, ShardId id) const {
    const Record& record = records_.at(id);
    const auto length = static_cast<size_t>(layout.shards()[id].length);
    const std::string shard = layout.Describe(id);
    ShardSnapshot snapshot = record.snapshot;
    TESSERA_ASSIGN_OR_RETURN(snapshot.weights, ReadTensor(WeightsName(shard), length));
    for (const std::string& slot : record.slots) {
      TESSERA_ASSIGN_OR_RETURN(SharedTensor values, ReadTensor(SlotName(shard, slot), length));
      snapshot.slots.push_back({slot, std::move(values)});
    }
    return snapshot;
  }

 private:
  Part(SafetensorsFile file, Records records) : file_(std::move(file)), records_(std::move(records)) {}

  // Whatever is wrong with a part that could be read, it is not what was written.
  static absl::Status Damaged(const absl::Status& status) {
    const bool is_kept = absl::IsNotFound(status) || absl::IsUnavailable(status) || absl::IsDataLoss(status);
    return is_kept ? status : absl::DataLossError(status.message());
  }

  absl::StatusOr<SharedTensor> ReadTensor(const std::string& name, size_t length) const {
    auto values = std::make_shared<TensorBuffer>(length);
    const absl::Status status = file_.Read(name, 0, values->span());
    if (!status.ok()) return Damaged(status);
    return SharedTensor(std::move(values));
  }

  SafetensorsFile file_;
  Records records_;
};

absl::StatusOr<std::vector<ShardSnapshot>> ReadShardsOf(const std::string& folder,
                                                        const CheckpointFileInfo& file,
                                                        const ShardLayout& layout,
                                                        absl::Span<const ShardId> wanted) {
  TESSERA_ASSIGN_OR_RETURN(const Part part, Part::Open(folder, file, layout));
  std::vector<ShardSnapshot> shards;
  for (const ShardId id : wanted) {
    TESSERA_ASSIGN_OR_RETURN(shards.emplace_back(), part.Read(layout, id));
  }
  return shards;
}

}  // namespace

std::string CheckpointPartName(int32_t server_index, const std::string& incarnation) {
  return absl::StrCat("server-", server_index, "-", incarnation, ".safetensors");
}

bool IsCheckpointFileName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name.front() != '.' &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; });
}

absl::StatusOr<CheckpointFileInfo> WriteCheckpointPart(const std::string& folder, const std::string& name,
                                                       const ShardLayout& layout,
                                                       absl::Span<const ShardSnapshot> shards) {
  TESSERA_RETURN_IF_ERROR(CheckName(folder, name));
  const std::string path = absl::StrCat(folder, "/", name);
  absl::StatusOr<PartBytes> bytes = BytesOf(layout, shards);
  if (!bytes.ok()) return Annotate(bytes.status(), path);
  std::vector<absl::Span<const uint8_t>> pieces = {AsBytes(bytes->preamble)};
  pieces.insert(pieces.end(), bytes->tensors.begin(), bytes->tensors.end());
  CheckpointFileInfo info{.name = name, .shards = AscendingIds(shards)};
  Sha256 digest;
  for (const absl::Span<const uint8_t> piece : pieces) {
    digest.Add(piece);
    info.bytes += static_cast<int64_t>(piece.size());
  }
  info.sha256 = digest.Digest();
  TESSERA_RETURN_IF_ERROR(WriteFileAtomically(path, pieces));
  return info;
}

absl::Status VerifyCheckpointFile(const std::string& folder, const CheckpointFileInfo& info) {
  TESSERA_RETURN_IF_ERROR(CheckName(folder, info.name));
  TESSERA_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(absl::StrCat(folder, "/", info.name)));
  if (file.size() != info.bytes) {
    return absl::DataLossError(absl::StrCat(file.path(), ": has ", file.size(), " bytes, not ", info.bytes));
  }
  TESSERA_ASSIGN_OR_RETURN(const std::string digest, DigestOf(file));
  if (digest == info.sha256) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(file.path(), ": is damaged: its SHA-256 is ",
                                          absl::BytesToHexString(digest), ", not ",
                                          absl::BytesToHexString(info.sha256)));
}

absl::StatusOr<std::vector<ShardSnapshot>> ReadCheckpointPart(const std::string& folder,
                                                              const CheckpointFileInfo& file,
                                                              const ShardLayout& layout) {
  return ReadShardsOf(folder, file, layout, file.shards);
}

absl::StatusOr<std::vector<ShardSnapshot>> ReadCheckpointShards(const std::string& folder,
                                                                absl::Span<const CheckpointFileInfo> files,
                                                                const ShardLayout& layout,
                                                                absl::Span<const ShardId> wanted) {
  std::map<ShardId, size_t> places;  // in `wanted`
  for (size_t i = 0; i < wanted.size(); ++i) places.emplace(wanted[i], i);
  std::vector<ShardSnapshot> shards(wanted.size());
  for (const CheckpointFileInfo& file : files) {
    std::vector<ShardId> here;
    for (const ShardId id : file.shards) {
      if (places.count(id) > 0) here.push_back(id);
    }
    if (here.empty()) continue;
    TESSERA_ASSIGN_OR_RETURN(std::vector<ShardSnapshot> read, ReadShardsOf(folder, file, layout, here));
    for (ShardSnapshot& snapshot : read) {
      ShardSnapshot& place = shards[places[snapshot.shard]];
      if (place.weights != nullptr) {
        return absl::DataLossError(absl::StrCat(folder, "/", file.name, ": has ",
                                                layout.Describe(snapshot.shard), ", as another file has"));
      }
      place = std::move(snapshot);
    }
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (shards[i].weights != nullptr) continue;
    return absl::DataLossError(absl::StrCat(folder, ": no file has shard ", wanted[i]));
  }
  return shards;
}

}  // namespace tessera

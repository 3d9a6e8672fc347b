#include "common/checkpoint/checkpoint_part.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/safetensors.h"
#include "common/sha256.h"
#include "gmock/gmock.h"
#include "tests/common/checkpoint/files.h"
#include "tests/common/checkpoint/snapshots.h"
#include "tests/common/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kName[] = "server-0-a.safetensors";

class CheckpointPart : public testing::Test {
 protected:
  CheckpointFileInfo Write(const std::vector<ShardSnapshot>& shards) {
    return *WriteCheckpointPart(folder_.path(), kName, layout_, shards);
  }
  // What is on disk now, as if it had been told so.
  CheckpointFileInfo InfoOfDisk(std::vector<ShardId> shards) const {
    const std::string bytes = ReadText(path_);
    Sha256 digest;
    digest.Add({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
    return {kName, static_cast<int64_t>(bytes.size()), digest.Digest(), std::move(shards)};
  }
  absl::Status ReadStatus(const CheckpointFileInfo& info) const {
    return ReadCheckpointPart(folder_.path(), info, layout_).status();
  }
  // The status of reading a file whose header is `header` and whose tensors take `data_bytes`.
  absl::Status StatusOfHeader(const std::string& header, size_t data_bytes) const {
    const uint64_t length = header.size();
    std::string bytes(sizeof(length), '\0');
    std::memcpy(bytes.data(), &length, sizeof(length));
    WriteText(path_, absl::StrCat(bytes, header, std::string(data_bytes, '\0')));
    return ReadStatus(InfoOfDisk({1}));
  }
  // A file that has shard 1, but for `key` of its record, which is `value`.
  absl::Status StatusOfRecord(const std::string& key, const std::string& value) const {
    std::string record =
        R"({"format":1,"shards":[{"shard":1,"version":3,"applied_pushes":6,"group_clocks":[3],)"
        R"("replica_clocks":[3,3],"applied":[3,3],"dropped":0,"slots":[]}]})";
    const size_t begin = record.find(absl::StrCat("\"", key, "\":")) + key.size() + 3;
    const size_t end = record[begin] == '[' && key != "shards" ? record.find(']', begin) + 1
                                                               : record.find_first_of(",}", begin);
    if (!key.empty()) record.replace(begin, end - begin, value);
    return StatusOfHeader(
        absl::StrCat(R"({"__metadata__":{"tessera_checkpoint":")",
                     absl::StrReplaceAll(record, {{"\"", "\\\""}}),
                     R"("},"fc [16,20)/weights":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})"),
        16);
  }

  const ShardLayout layout_ = SmallLayout();
  TemporaryFolder folder_;
  const std::string path_ = folder_.File(kName);
};

TEST_F(CheckpointPart, GivesTheSameSnapshotsBack) {
  const std::vector<ShardSnapshot> shards = SnapshotsOf(layout_, {0, 1, 2}, 7);
  const auto read = ReadCheckpointPart(folder_.path(), Write(shards), layout_);
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->size(), 3U);
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(SameSnapshot((*read)[i], shards[i])) << i;
}

TEST_F(CheckpointPart, KeepsTheBitsOfEveryFloatAndTheLargestClocks) {
  ShardSnapshot snapshot = SnapshotOf(layout_, 1, 3, 0);
  auto weights = std::make_shared<TensorBuffer>(4);
  const uint32_t bits[] = {0x80000000, 0x7fc12345, 0xff800000, 0x00000001};  // -0, a NaN, -inf, a denormal
  std::memcpy(weights->data(), bits, sizeof(bits));
  snapshot.weights = weights;
  snapshot.version = std::numeric_limits<int64_t>::max();
  snapshot.policy.replica_clocks = {std::numeric_limits<int64_t>::max(), 0};
  const auto read = ReadCheckpointPart(folder_.path(), Write({snapshot}), layout_);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(std::memcmp((*read)[0].weights->data(), bits, sizeof(bits)), 0);
  EXPECT_EQ((*read)[0].version, snapshot.version);
  EXPECT_EQ((*read)[0].policy, snapshot.policy);
}

TEST_F(CheckpointPart, TellsNameSizeDigestAndShards) {
  const CheckpointFileInfo info = Write(SnapshotsOf(layout_, {2, 0}, 7));
  EXPECT_EQ(info, InfoOfDisk({0, 2}));
  EXPECT_EQ(FilesIn(folder_.path()), 1);
}

TEST_F(CheckpointPart, CanBeReadAsAnyOtherSafetensorsFile) {
  Write(SnapshotsOf(layout_, {1}, 7));
  const auto tensors = ReadSafetensors(path_);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->count("fc [16,20)/weights"), 1U);
  EXPECT_THAT(tensors->at("fc [16,20)/weights").values, ElementsAre(200, 201, 202, 203));
  EXPECT_THAT(tensors->at("fc [16,20)/slots/velocity").values, ElementsAre(-200, -199, -198, -197));
}

TEST_F(CheckpointPart, OfNoShardsIsAFileToo) {
  const CheckpointFileInfo info = Write({});
  const auto read = ReadCheckpointPart(folder_.path(), info, layout_);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->empty());
}

TEST_F(CheckpointPart, GivesWantedShardsOutOfSeveralFiles) {
  const std::string path = MakeCheckpoint(folder_.path(), 7);
  const auto manifest = ReadManifest(path);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  const auto read = ReadCheckpointShards(path, manifest->files, layout_, {1, 0});
  ASSERT_TRUE(read.ok()) << read.status();
  const std::vector<ShardSnapshot> expected = SnapshotsOf(layout_, {1, 0}, 7);
  ASSERT_EQ(read->size(), 2U);
  EXPECT_TRUE(SameSnapshot((*read)[0], expected[0]));
  EXPECT_TRUE(SameSnapshot((*read)[1], expected[1]));
}

TEST_F(CheckpointPart, DoesNotReadFilesWithoutAWantedShard) {
  const std::string path = MakeCheckpoint(folder_.path(), 7);
  const auto manifest = ReadManifest(path);
  std::filesystem::remove(path + "/server-1-b.safetensors");
  EXPECT_TRUE(ReadCheckpointShards(path, manifest->files, layout_, {0, 2}).ok());
  EXPECT_EQ(ReadCheckpointShards(path, manifest->files, layout_, {0, 1}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(CheckpointPart, SaysWhichWantedShardNoFileHas) {
  const CheckpointFileInfo info = Write(SnapshotsOf(layout_, {0}, 7));
  const absl::Status status = ReadCheckpointShards(folder_.path(), {info}, layout_, {0, 2}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no file has shard 2"));
}

TEST_F(CheckpointPart, RefusesATruncatedFileByName) {
  const CheckpointFileInfo info = Write(SnapshotsOf(layout_, {0, 1}, 7));
  const std::string whole = ReadText(path_);
  for (size_t bytes : {size_t{0}, size_t{4}, size_t{100}, whole.size() - 1}) {
    WriteText(path_, whole.substr(0, bytes));
    const absl::Status status = ReadStatus(info);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << bytes;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
  }
}

TEST_F(CheckpointPart, RefusesAFlippedBitByName) {
  const CheckpointFileInfo info = Write(SnapshotsOf(layout_, {0, 1}, 7));
  const std::string whole = ReadText(path_);
  for (size_t byte : {size_t{0}, size_t{40}, whole.size() / 2, whole.size() - 1}) {
    WriteText(path_, whole);
    FlipBit(path_, byte);
    const absl::Status status = ReadStatus(info);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << byte;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat(path_, ": is damaged")));
  }
}

TEST_F(CheckpointPart, RefusesAMissingFileAFolderAndANameOutsideTheFolder) {
  CheckpointFileInfo info = Write(SnapshotsOf(layout_, {0}, 7));
  std::filesystem::remove(path_);
  EXPECT_EQ(ReadStatus(info).code(), absl::StatusCode::kNotFound);
  std::filesystem::create_directory(path_);
  EXPECT_EQ(ReadStatus(info).code(), absl::StatusCode::kInvalidArgument);
  for (const char* name : {"", "..", "../x", "/etc/passwd", "a/b", ".hidden"}) {
    info.name = name;
    EXPECT_EQ(ReadStatus(info).code(), absl::StatusCode::kInvalidArgument) << name;
  }
  info.name = std::string("a\0b", 3);
  EXPECT_EQ(ReadStatus(info).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CheckpointPart, RefusesASafetensorsFileThatIsNoPart) {
  ASSERT_TRUE(WriteSafetensors(path_, {{"fc.bias", {{4}, {1, 2, 3, 4}}}}, {{"format", "pt"}}).ok());
  const absl::Status status = ReadStatus(InfoOfDisk({1}));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("is no part of a checkpoint"));
}

// Their digests are right: whoever told them is hostile too.
TEST_F(CheckpointPart, RefusesOtherShardsThanItIsToHave) {
  const CheckpointFileInfo info = Write(SnapshotsOf(layout_, {0, 1}, 7));
  for (const std::vector<ShardId>& shards :
       {std::vector<ShardId>{0}, {0, 1, 2}, {0, 2}, {0, 1, 99}, {-1, 0, 1}, {0, 0, 1}, {}}) {
    CheckpointFileInfo other = info;
    other.shards = shards;
    EXPECT_EQ(ReadStatus(other).code(), absl::StatusCode::kDataLoss) << shards.size();
  }
}

TEST_F(CheckpointPart, RefusesShardsOfAnotherModel) {
  const CheckpointFileInfo info = Write(SnapshotsOf(layout_, {0, 1, 2}, 7));
  std::vector<ParameterBlock> blocks = layout_.blocks();
  blocks[0].parameters[1].shape = {5};
  const ShardLayout other = *ShardLayout::Create(blocks, kSmallShardBytes);
  const absl::Status status = ReadCheckpointPart(folder_.path(), info, other).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("fc [16,21)"));
}

TEST_F(CheckpointPart, TakesAHandMadeRecordThatIsRight) {
  EXPECT_TRUE(StatusOfRecord("", "").ok()) << StatusOfRecord("", "");
}

TEST_F(CheckpointPart, RefusesRecordsThatAreNot) {
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, std::string>>{{"format", "2"},
                                                        {"shard", "0"},
                                                        {"shard", "-1"},
                                                        {"shard", "4294967297"},
                                                        {"version", "-3"},
                                                        {"version", "1e3"},
                                                        {"version", "9223372036854775808"},
                                                        {"version", "99999999999999999999999"},
                                                        {"version", "null"},
                                                        {"version", "3,\"version\":4"},
                                                        {"version", "3,\"more\":4"},
                                                        {"applied_pushes", "[]"},
                                                        {"group_clocks", "3"},
                                                        {"group_clocks", "[-1]"},
                                                        {"replica_clocks", "[3,\"3\"]"},
                                                        {"applied", "[[[[[[[[[[[[]]]]]]]]]]]]"},
                                                        {"dropped", "true"},
                                                        {"slots", "[3]"},
                                                        {"slots", "[\"velocity\"]"}}) {
    const absl::Status status = StatusOfRecord(key, value);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << key << " " << value << " " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_)) << key;
  }
}

TEST_F(CheckpointPart, RefusesHeadersThatClaimMoreThanTheFileHas) {
  for (const char* tensor :
       {R"("shape":[4611686018427387904],"data_offsets":[0,16])",
        R"("shape":[4],"data_offsets":[0,18446744073709551615])", R"("shape":[4],"data_offsets":[16,0])",
        R"("shape":[-4],"data_offsets":[0,16])"}) {
    const std::string header = absl::StrCat(R"({"a":{"dtype":"F32",)", tensor, "}}");
    EXPECT_EQ(StatusOfHeader(header, 16).code(), absl::StatusCode::kDataLoss) << tensor;
  }
  EXPECT_EQ(StatusOfHeader("[]", 0).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(StatusOfHeader(R"({"a":{"dtype":"Q7","shape":[],"data_offsets":[0,0]}})", 0).code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(CheckpointPart, IsNotWrittenOfWhatDoesNotFitTheModel) {
  const auto code = [&](const std::vector<ShardSnapshot>& shards) {
    return WriteCheckpointPart(folder_.path(), kName, layout_, shards).status().code();
  };
  std::vector<ShardSnapshot> shards = SnapshotsOf(layout_, {1, 1}, 7);
  EXPECT_EQ(code(shards), absl::StatusCode::kInvalidArgument);
  shards.pop_back();
  shards[0].shard = 3;
  EXPECT_EQ(code(shards), absl::StatusCode::kInvalidArgument);
  shards[0].shard = 0;
  EXPECT_EQ(code(shards), absl::StatusCode::kInvalidArgument);
  shards[0].weights = nullptr;
  EXPECT_EQ(code(shards), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FilesIn(folder_.path()), 0);
}

TEST_F(CheckpointPart, ThatDoesNotFitTheDiskLeavesNothing) {
  absl::Status status;
  WithFullDisk(512, [&] {
    status = WriteCheckpointPart(folder_.path(), kName, layout_, SnapshotsOf(layout_, {0, 1, 2}, 7)).status();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
  EXPECT_EQ(FilesIn(folder_.path()), 0);
}

TEST_F(CheckpointPart, InAFolderThatIsGoneIsUnavailableWithItsName) {
  const std::string gone = folder_.File("gone");
  const absl::Status status = WriteCheckpointPart(gone, kName, layout_, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat(gone, "/", kName)));
}

}  // namespace
}  // namespace tessera

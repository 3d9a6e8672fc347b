#include "common/checkpoint/checkpoint_manifest.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/common/checkpoint/files.h"
#include "tests/common/checkpoint/snapshots.h"
#include "tests/common/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

CheckpointManifest Example() {
  return ManifestOf(120, {{"server-0-a.safetensors", 1234, std::string(32, '\x7f'), {0, 2}},
                          {"server-1-b.safetensors", 0, std::string(32, '\0'), {1}}});
}

Json ExampleJson() { return Json::parse(*FormatManifest(Example())); }

// Of the example with the value at `pointer` (RFC 6901) replaced.
absl::Status StatusWith(const std::string& pointer, const Json& value) {
  Json json = ExampleJson();
  json[Json::json_pointer(pointer)] = value;
  return ParseManifest(json.dump()).status();
}

TEST(CheckpointManifest, ReadsBackAsItWasWritten) {
  const CheckpointManifest written = Example();
  const auto read = ParseManifest(*FormatManifest(written));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->job, written.job);
  EXPECT_EQ(read->clock, written.clock);
  EXPECT_EQ(read->steps_per_epoch, written.steps_per_epoch);
  EXPECT_EQ(read->epochs, written.epochs);
  EXPECT_EQ(read->rewind, written.rewind);
  EXPECT_EQ(read->mode, written.mode);
  EXPECT_EQ(read->job_yaml, written.job_yaml);
  EXPECT_EQ(read->shard_bytes, written.shard_bytes);
  EXPECT_EQ(read->files, written.files);
  EXPECT_EQ(read->created, written.created);
}

TEST(CheckpointManifest, KeepsTheWholeLayout) {
  const CheckpointManifest written = Example();
  const auto read = ParseManifest(*FormatManifest(written));
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->layout.shards().size(), written.layout.shards().size());
  for (const Shard& shard : written.layout.shards()) {
    EXPECT_EQ(read->layout.Describe(shard.id), written.layout.Describe(shard.id));
  }
  for (size_t i = 0; i < written.layout.blocks().size(); ++i) {
    const ParameterBlock& expected = written.layout.blocks()[i];
    const ParameterBlock& block = read->layout.blocks()[i];
    EXPECT_EQ(block.kind, expected.kind);
    for (size_t j = 0; j < expected.parameters.size(); ++j) {
      EXPECT_EQ(block.parameters[j].name, expected.parameters[j].name);
      EXPECT_EQ(block.parameters[j].shape, expected.parameters[j].shape);
      EXPECT_EQ(block.parameters[j].kind, expected.parameters[j].kind);
      EXPECT_EQ(block.parameters[j].init, expected.parameters[j].init);
    }
  }
}

TEST(CheckpointManifest, OfAnotherFormatVersionIsRefusedWithBoth) {
  const absl::Status status = StatusWith("/format_version", 2);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("format version 2, this program reads 1"));
}

TEST(CheckpointManifest, OfAnotherFormatVersionMayHaveOtherKeys) {
  Json json = ExampleJson();
  json["format_version"] = 7;
  json["replicas_of"] = Json::array();
  json.erase("clock");
  EXPECT_EQ(ParseManifest(json.dump()).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(CheckpointManifest, WithoutAnyOneKeyIsRefusedByItsName) {
  const Json whole = ExampleJson();
  for (const auto& [key, value] : whole.items()) {
    Json json = ExampleJson();
    json.erase(key);
    const absl::Status status = ParseManifest(json.dump()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << key;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("`", key, "` is missing")));
  }
}

TEST(CheckpointManifest, WithWrongValuesIsRefused) {
  const Json huge = Json::parse("99999999999999999999");
  for (const auto& [pointer, value] : std::vector<std::pair<std::string, Json>>{
           {"/clock", -1},
           {"/clock", 1.5},
           {"/clock", "120"},
           {"/clock", huge},
           {"/clock", uint64_t{1} << 63},
           {"/steps_per_epoch", 0},
           {"/epochs", nullptr},
           {"/rewind", -2},
           {"/job", 3},
           {"/mode", Json::array()},
           {"/created", "yesterday"},
           {"/shard_bytes", 3},
           {"/shard_bytes", int64_t{1} << 60},
           {"/unknown", 1},
           {"/blocks", 1},
           {"/blocks/0", 1},
           {"/blocks/0/statistic", 1},
           {"/blocks/0/parameters", Json::array()},
           {"/blocks/0/parameters/0/shape/0", 0},
           {"/blocks/0/parameters/0/shape/0", -4},
           {"/blocks/0/parameters/0/shape", Json::array({int64_t{1} << 40, int64_t{1} << 40})},
           {"/blocks/0/parameters/0/shape", Json::array({int64_t{1} << 45})},  // too many shards
           {"/blocks/0/parameters/0/name", "fc.bias"},
           {"/blocks/0/parameters/0/value", 1e300},
           {"/blocks/0/parameters/0/value", nullptr},
           {"/files", "x"},
           {"/files/0/name", "a/b"},
           {"/files/0/name", ".."},
           {"/files/0/name", "../../x"},
           {"/files/0/name", ""},
           {"/files/0/name", "server-1-b.safetensors"},
           {"/files/0/bytes", -1},
           {"/files/0/bytes", huge},
           {"/files/0/sha256", "abc"},
           {"/files/0/sha256", std::string(64, 'g')},
           {"/files/0/shards", Json::array({2, 0})},
           {"/files/0/shards", Json::array({0, 0})},
           {"/files/0/shards", Json::array({3})},
           {"/files/0/shards", Json::array({-1})},
           {"/files/0/more", 1}}) {
    EXPECT_EQ(StatusWith(pointer, value).code(), absl::StatusCode::kDataLoss) << pointer << " " << value;
  }
}

TEST(CheckpointManifest, NamesTheElementThatIsWrong) {
  EXPECT_THAT(std::string(StatusWith("/files/1/bytes", -1).message()), HasSubstr("`files[1].bytes`"));
  EXPECT_THAT(std::string(StatusWith("/blocks/0/parameters/1/name", 1).message()),
              HasSubstr("`blocks[0].parameters[1].name`"));
}

TEST(CheckpointManifest, ThatIsNoStrictJsonIsRefused) {
  const std::string text = *FormatManifest(Example());
  std::string twice = text;
  twice.insert(1, "\"clock\": 3,");
  for (const std::string& broken :
       {std::string(), std::string("{}"), std::string("[]"), std::string("\xff"), twice,
        text.substr(0, text.size() / 2), text + "x", std::string(100'000, '['), std::string(100'000, '{')}) {
    EXPECT_EQ(ParseManifest(broken).status().code(), absl::StatusCode::kDataLoss) << broken.substr(0, 40);
  }
}

TEST(CheckpointManifest, IsRefusedOrReadWhateverByteChanges) {
  const std::string text = *FormatManifest(Example());
  for (size_t i = 0; i < text.size(); ++i) {
    for (const char c : {'-', '9', '"', '}', '\0'}) {
      std::string changed = text;
      changed[i] = c;
      ParseManifest(changed).IgnoreError();  // neither crashes nor takes the machine's memory
    }
  }
}

TEST(CheckpointManifest, IsWrittenAndReadByName) {
  TemporaryFolder folder;
  ASSERT_TRUE(WriteManifest(folder.path(), Example()).ok());
  EXPECT_EQ(FilesIn(folder.path()), 1);
  const auto read = ReadManifest(folder.path());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->files, Example().files);
  WriteText(folder.File(kManifestName), "{");
  EXPECT_THAT(std::string(ReadManifest(folder.path()).status().message()),
              HasSubstr(folder.File(kManifestName)));
  std::filesystem::remove(folder.File(kManifestName));
  EXPECT_EQ(ReadManifest(folder.path()).status().code(), absl::StatusCode::kNotFound);
}

TEST(CheckpointManifest, OnAFullDiskLeavesTheOldOneAlone) {
  TemporaryFolder folder;
  ASSERT_TRUE(WriteManifest(folder.path(), Example()).ok());
  CheckpointManifest next = Example();
  next.clock = 240;
  absl::Status status;
  WithFullDisk(512, [&] { status = WriteManifest(folder.path(), next); });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReadManifest(folder.path())->clock, 120);
  EXPECT_EQ(FilesIn(folder.path()), 1);
}

}  // namespace
}  // namespace tessera

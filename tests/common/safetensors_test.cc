#include "common/safetensors.h"

#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void WriteAll(const std::string& path, const std::string& bytes) {
  std::filesystem::remove(path);  // some file systems sync a file that is truncated and written again
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

NamedTensors Example() {
  return {{"fc.weight", {{2, 3}, {1, -2, 3.5F, 0, -0.0F, std::numeric_limits<float>::infinity()}}},
          {"fc.bias", {{2}, {0.25F, 1e-40F}}},
          {"scalar", {{}, {7}}},
          {"empty", {{0, 4}, {}}}};
}

// Equal in every bit: unlike ==, tells -0 from 0.
bool SameBits(const NamedTensors& a, const NamedTensors& b) {
  const auto same_value = [](float x, float y) {
    return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y);
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](const auto& x, const auto& y) {
    const std::vector<float>& left = x.second.values;
    const std::vector<float>& right = y.second.values;
    return x.first == y.first && x.second.shape == y.second.shape &&
           std::equal(left.begin(), left.end(), right.begin(), right.end(), same_value);
  });
}

// A file with `header` (its length in front) and `data_bytes` zeros behind.
std::string Raw(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + header + std::string(data_bytes, '\0');
}

std::string Tensor(const std::string& name, const std::string& shape, const std::string& offsets,
                   const std::string& dtype = "F32") {
  return absl::StrCat("\"", name, R"(":{"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":)",
                      offsets, "}");
}

std::string Header(const std::vector<std::string>& tensors) {
  return absl::StrCat("{", absl::StrJoin(tensors, ","), "}");
}

class Safetensors : public testing::Test {
 protected:
  std::string FileHere(const std::string& name) const { return folder_.File(name); }

  // The message with which a file of these bytes is refused; it must be damage and name the path.
  std::string DamageOf(const std::string& bytes) const {
    const std::string path = FileHere("damaged.safetensors");
    WriteAll(path, bytes);
    const absl::Status status = ReadSafetensors(path).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), StartsWith(path + ": "));
    return std::string(status.message());
  }

  TemporaryFolder folder_;
};

TEST_F(Safetensors, ReadsBackTheBitsItWrote) {
  const std::string path = FileHere("model.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, Example(), {{"job", "fashion-lenet"}}).ok());
  const auto tensors = ReadSafetensors(path);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_TRUE(SameBits(*tensors, Example()));
}

TEST_F(Safetensors, FileIsAsTheFormatDescribes) {
  const std::string path = FileHere("model.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, {{"b", {{1}, {1}}}, {"a", {{2}, {2, 3}}}}, {{"k", "v"}}).ok());
  const std::string bytes = ReadAll(path);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0U);
  EXPECT_THAT(bytes.substr(8, length),
              StartsWith("{\"__metadata__\":{\"k\":\"v\"},\"a\":{\"data_offsets\":[0,8],"));
  EXPECT_EQ(bytes.size(), 8 + length + 12);
  const float expected[] = {2, 3, 1};
  EXPECT_EQ(std::memcmp(bytes.data() + 8 + length, expected, 12), 0);
}

TEST_F(Safetensors, HoldsNoTensorsAtAll) {
  const std::string path = FileHere("empty.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, {}, {}).ok());
  const auto tensors = ReadSafetensors(path);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_TRUE(tensors->empty());
}

TEST_F(Safetensors, AcceptsTensorsInAnotherOrderThanTheirOffsets) {
  const std::string path = FileHere("model.safetensors");
  WriteAll(path, Raw(Header({Tensor("a", "[1]", "[8,12]"), Tensor("b", "[2]", "[0,8]")}), 12));
  EXPECT_EQ(ReadSafetensors(path)->size(), 2U);
}

TEST_F(Safetensors, MissingFileIsNotFound) {
  const absl::Status status = ReadSafetensors(FileHere("none.safetensors")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("none.safetensors"));
}

TEST_F(Safetensors, FolderIsRefused) {
  EXPECT_EQ(ReadSafetensors(testing::TempDir()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(Safetensors, EveryTruncationIsDamage) {
  const std::string path = FileHere("model.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, Example(), {}).ok());
  const std::string bytes = ReadAll(path);
  for (size_t length = 0; length < bytes.size(); ++length) DamageOf(bytes.substr(0, length));
}

TEST_F(Safetensors, TrailingBytesAreDamage) {
  const std::string path = FileHere("model.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, Example(), {}).ok());
  EXPECT_THAT(DamageOf(ReadAll(path) + "x"), HasSubstr("the tensors take 36 bytes, the file has 37"));
}

// A flipped bit in the header is refused, or leaves a file that is still well formed (another name, say).
TEST_F(Safetensors, FlippedHeaderBitsNeverCrash) {
  const std::string path = FileHere("model.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, Example(), {{"k", "v"}}).ok());
  const std::string bytes = ReadAll(path);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  int refused = 0;
  for (size_t bit = 0; bit < 8 * (8 + length); ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    WriteAll(path, flipped);
    const auto tensors = ReadSafetensors(path);
    if (tensors.ok()) continue;
    ++refused;
    EXPECT_THAT(std::string(tensors.status().message()), StartsWith(path));
  }
  EXPECT_GT(refused, 500);
}

TEST_F(Safetensors, HugeHeaderLengthIsRefusedBeforeAllocating) {
  EXPECT_THAT(DamageOf(std::string(8, '\xff') + "{}"), HasSubstr("18446744073709551615"));
  EXPECT_THAT(DamageOf(std::string("\x00\x00\x00\x01\x00\x00\x00\x00", 8) + "{}"),
              HasSubstr("a header of 16777216 bytes in a file of 10"));
}

TEST_F(Safetensors, HeaderIsBoundedAlsoInAHugeFile) {
  const std::string path = FileHere("sparse.safetensors");
  WriteAll(path, std::string("\x00\x00\x00\x10\x00\x00\x00\x00", 8));
  std::filesystem::resize_file(path, uint64_t{1} << 30);  // takes no room on the disk
  EXPECT_THAT(std::string(ReadSafetensors(path).status().message()),
              HasSubstr("a header of 268435456 bytes"));
}

TEST_F(Safetensors, OffsetsMustTileTheData) {
  EXPECT_THAT(DamageOf(Raw(Header({Tensor("a", "[2]", "[0,8]"), Tensor("b", "[2]", "[4,12]")}), 12)),
              HasSubstr("`b` starts at byte 4 of the data, the one before ends at 8"));
  EXPECT_THAT(DamageOf(Raw(Header({Tensor("a", "[1]", "[0,4]"), Tensor("b", "[1]", "[8,12]")}), 12)),
              HasSubstr("`b` starts at byte 8"));
  EXPECT_THAT(DamageOf(Raw(Header({Tensor("a", "[2]", "[0,8]")}), 4)), HasSubstr("(truncated)"));
  EXPECT_THAT(DamageOf(Raw(Header({Tensor("a", "[2]", "[8,0]")}), 8)), HasSubstr("`a`"));
}

TEST_F(Safetensors, ShapesMustMatchTheirBytes) {
  EXPECT_THAT(DamageOf(Raw(Header({Tensor("a", "[3]", "[0,8]")}), 8)),
              AllOf(HasSubstr("tensor `a`"), HasSubstr("8 bytes")));
  EXPECT_THAT(DamageOf(Raw(Header({Tensor("a", "[-2]", "[0,8]")}), 8)), HasSubstr("tensor `a`"));
  EXPECT_THAT(DamageOf(Raw(Header({Tensor("a", "[-1,-2]", "[0,8]")}), 8)), HasSubstr("tensor `a`"));
  EXPECT_THAT(DamageOf(Raw(Header({Tensor("a", "[2.0]", "[0,8]")}), 8)), HasSubstr("tensor `a`"));
  // 2^62 * 2^62 * 2 wraps to 0 in 64 bits.
  EXPECT_THAT(DamageOf(Raw(Header({Tensor("a", "[4611686018427387904,4611686018427387904,2]", "[0,0]")}), 0)),
              HasSubstr("tensor `a`"));
}

TEST_F(Safetensors, HeaderMustBeTheRightJson) {
  EXPECT_THAT(DamageOf(Raw("not json", 0)), HasSubstr("JSON"));
  EXPECT_THAT(DamageOf(Raw("[]", 0)), HasSubstr("JSON object"));
  EXPECT_THAT(DamageOf(Raw("", 0)), HasSubstr("JSON"));
  EXPECT_THAT(DamageOf(Raw("{\"a\":3}", 0)), HasSubstr("`a`"));
  EXPECT_THAT(DamageOf(Raw(R"({"a":{"dtype":"F32","shape":3,"data_offsets":[0,0]}})", 0)),
              HasSubstr("`shape`"));
  EXPECT_THAT(DamageOf(Raw(Header({Tensor("a", "[1]", "[0,4]"), Tensor("a", "[1]", "[0,4]")}), 4)),
              HasSubstr("`a` occurs twice"));
}

TEST_F(Safetensors, OtherDtypesAreNamed) {
  const std::string path = FileHere("half.safetensors");
  WriteAll(path, Raw(Header({Tensor("a", "[2]", "[0,4]", "BF16")}), 4));
  const absl::Status status = ReadSafetensors(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("`a`"), HasSubstr("BF16")));
}

TEST_F(Safetensors, RefusesToWriteWhatTheFormatCannotHold) {
  const std::string path = FileHere("model.safetensors");
  const auto code = [&](const NamedTensors& tensors) { return WriteSafetensors(path, tensors, {}).code(); };
  EXPECT_EQ(code({{"a", {{3}, {1, 2}}}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"__metadata__", {{1}, {1}}}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{"\xff", {{1}, {1}}}}), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(Safetensors, MissingFolderIsUnavailableWithThePath) {
  const std::string path = FileHere("none") + "/model.safetensors";
  const absl::Status status = WriteSafetensors(path, Example(), {});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path));
}

// Runs `action` while no file of this process may grow beyond `bytes`: as on a full disk, writes fail
// halfway.
void WithFileSizeLimit(rlim_t bytes, const std::function<void()>& action) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limited{bytes, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limited), 0);
  action();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
}

TEST_F(Safetensors, FailedWriteLeavesTheOldFileAlone) {
  const std::string path = FileHere("model.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, Example(), {}).ok());
  absl::Status status;
  WithFileSizeLimit(4096, [&] {
    status = WriteSafetensors(path, {{"big", {{10'000}, std::vector<float>(10'000)}}}, {});
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  EXPECT_TRUE(SameBits(*ReadSafetensors(path), Example()));
  const std::filesystem::directory_iterator files(folder_.path());
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);
}

// printf 'a\0\x00\x00\x80\x3fb\0\x00\x00\x00\xc0\x00\x00\x20\x41' | sha256sum
TEST(WeightsDigest, IsTheSha256OfNamesAndBytes) {
  const NamedTensors tensors = {{"b", {{2}, {-2, 10}}}, {"a", {{1}, {1}}}};
  EXPECT_EQ(WeightsDigest(tensors), "0eb8ab8ce2b06ef8a3a73e696dff70fed60c186e2c7a3b0c738faf20198c7a2e");
}

TEST(WeightsDigest, OfNothingIsThatOfTheEmptyString) {
  EXPECT_EQ(WeightsDigest({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(WeightsDigest, SeesTheLastBitAndTheName) {
  const std::string digest = WeightsDigest({{"a", {{1}, {1}}}});
  EXPECT_NE(digest, WeightsDigest({{"a", {{1}, {1 + 0x1p-23F}}}}));
  EXPECT_NE(digest, WeightsDigest({{"b", {{1}, {1}}}}));
  EXPECT_NE(WeightsDigest({{"a", {{1}, {0.0F}}}}), WeightsDigest({{"a", {{1}, {-0.0F}}}}));
}

}  // namespace
}  // namespace tessera

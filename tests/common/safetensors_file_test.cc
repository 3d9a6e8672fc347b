#include "common/safetensors_file.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/safetensors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A file of raw tensors, one after another.
class RawFile {
 public:
  template <typename T>
  void Add(const std::string& name, const std::string& dtype, const std::vector<T>& elements) {
    const size_t bytes = elements.size() * sizeof(T);
    entries_.push_back(absl::StrCat("\"", name, R"(":{"dtype":")", dtype, R"(","shape":[)", elements.size(),
                                    R"(],"data_offsets":[)", data_.size(), ",", data_.size() + bytes, "]}"));
    data_.append(reinterpret_cast<const char*>(elements.data()), bytes);
  }

  void AddEntry(std::string entry) { entries_.push_back(std::move(entry)); }

  void Write(const std::string& path) const {
    const std::string header = absl::StrCat("{", absl::StrJoin(entries_, ","), "}");
    const uint64_t length = header.size();
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&length), sizeof(length));
    file << header << data_;
  }

 private:
  std::vector<std::string> entries_;
  std::string data_;
};

class SafetensorsFileTest : public testing::Test {
 protected:
  std::string path() const { return folder_.File("model.safetensors"); }

  SafetensorsFile Open(const RawFile& raw) const {
    raw.Write(path());
    absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(path());
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }

  static std::vector<float> Read(const SafetensorsFile& file, const std::string& name, int64_t first,
                                 size_t count) {
    std::vector<float> out(count, -99);
    const absl::Status status = file.Read(name, first, absl::MakeSpan(out));
    EXPECT_TRUE(status.ok()) << status;
    return out;
  }

  TemporaryFolder folder_;
};

TEST_F(SafetensorsFileTest, ReadsAnyRangeOfATensor) {
  RawFile raw;
  raw.Add<float>("a", "F32", {1, 2, 3});
  raw.Add<float>("b", "F32", {4, 5, 6, 7});
  const SafetensorsFile file = Open(raw);
  for (int64_t first = 0; first <= 4; ++first) {
    for (size_t count = 0; first + static_cast<int64_t>(count) <= 4; ++count) {
      const std::vector<float> values = Read(file, "b", first, count);
      for (size_t i = 0; i < count; ++i)
        EXPECT_EQ(values[i], static_cast<float>(first + 4 + static_cast<int64_t>(i)));
    }
  }
  EXPECT_EQ(file.tensors().at("b").shape, Shape{4});
}

TEST_F(SafetensorsFileTest, ReadsWhatWasWritten) {
  ASSERT_TRUE(WriteSafetensors(path(), {{"w", {{2, 2}, {1, 2, 3, 4}}}}, {{"k", "v"}}).ok());
  const auto file = SafetensorsFile::Open(path());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(Read(*file, "w", 1, 2), ElementsAre(2, 3));
}

TEST_F(SafetensorsFileTest, ConvertsHalfPrecisionExactly) {
  RawFile raw;
  // 1, -2, the largest, the smallest normal, the smallest subnormal, -0, infinity, NaN.
  raw.Add<uint16_t>("h", "F16", {0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x8000, 0x7c00, 0x7e00});
  const std::vector<float> values = Read(Open(raw), "h", 0, 8);
  EXPECT_THAT(std::vector<float>(values.begin(), values.begin() + 5),
              ElementsAre(1, -2, 65504, 0x1p-14F, 0x1p-24F));
  EXPECT_TRUE(values[5] == 0 && std::signbit(values[5]));
  EXPECT_EQ(values[6], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(values[7]));
}

TEST_F(SafetensorsFileTest, ConvertsBfloat16AndDouble) {
  RawFile raw;
  raw.Add<uint16_t>("b", "BF16", {0x3f80, 0xc049, 0x0001});
  raw.Add<double>("d", "F64", {0.1, -2, 1 + 0x1p-24, 1 + 0x1.8p-23});
  const SafetensorsFile file = Open(raw);
  EXPECT_THAT(Read(file, "b", 0, 3), ElementsAre(1, -3.140625F, 0x1p-133F));
  EXPECT_THAT(Read(file, "b", 1, 1), ElementsAre(-3.140625F));
  // To the nearest, ties to even.
  EXPECT_THAT(Read(file, "d", 0, 4), ElementsAre(0.1F, -2, 1, 1 + 0x1p-22F));
}

TEST_F(SafetensorsFileTest, ConvertsTensorsOfManyPieces) {
  std::vector<double> elements(100'000);
  for (size_t i = 0; i < elements.size(); ++i) elements[i] = static_cast<double>(i);
  RawFile raw;
  raw.Add("d", "F64", elements);
  const std::vector<float> values = Read(Open(raw), "d", 7, elements.size() - 7);
  for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], static_cast<float>(i + 7));
}

TEST_F(SafetensorsFileTest, IntegersAreListedButNotReadAsWeights) {
  RawFile raw;
  raw.Add<int64_t>("bn1.num_batches_tracked", "I64", {7});
  raw.Add<float>("w", "F32", {1});
  const SafetensorsFile file = Open(raw);
  EXPECT_EQ(file.tensors().at("bn1.num_batches_tracked").dtype, "I64");
  float value = 0;
  const absl::Status status = file.Read("bn1.num_batches_tracked", 0, absl::MakeSpan(&value, 1));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()),
              AllOf(StartsWith(path()), HasSubstr("`bn1.num_batches_tracked`"), HasSubstr("I64")));
  EXPECT_THAT(Read(file, "w", 0, 1), ElementsAre(1));
}

TEST_F(SafetensorsFileTest, UnknownDtypesAreRefusedByName) {
  RawFile raw;
  raw.Add<uint8_t>("q", "F4", {1, 2});
  raw.Write(path());
  const absl::Status status = SafetensorsFile::Open(path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), AllOf(StartsWith(path()), HasSubstr("`q`"), HasSubstr("F4")));
}

TEST_F(SafetensorsFileTest, RefusesRangesOutsideTheTensor) {
  RawFile raw;
  raw.Add<float>("a", "F32", {1, 2, 3});
  raw.Add<float>("b", "F32", {4});
  const SafetensorsFile file = Open(raw);
  std::vector<float> out(2);
  const auto code = [&](int64_t first) { return file.Read("a", first, absl::MakeSpan(out)).code(); };
  EXPECT_EQ(code(1), absl::StatusCode::kOk);
  EXPECT_EQ(code(2), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(code(-1), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(code(std::numeric_limits<int64_t>::max()), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(file.Read("c", 0, absl::MakeSpan(out)).code(), absl::StatusCode::kNotFound);
}

TEST_F(SafetensorsFileTest, AFileThatShrankIsDamage) {
  RawFile raw;
  raw.Add<float>("a", "F32", {1, 2, 3});
  const SafetensorsFile file = Open(raw);
  std::filesystem::resize_file(path(), std::filesystem::file_size(path()) - 4);
  std::vector<float> out(3);
  const absl::Status status = file.Read("a", 0, absl::MakeSpan(out));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("`a`"), HasSubstr(path())));
}

// Half-precision lengths are checked by their own element size.
TEST_F(SafetensorsFileTest, ShapesMustMatchTheDtype) {
  RawFile raw;
  raw.Add<float>("a", "F16", {1, 2});
  raw.Write(path());
  const absl::Status status = SafetensorsFile::Open(path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), AllOf(StartsWith(path()), HasSubstr("tensor `a`")));
}

// A header that promises more than the file has is refused before anything is allocated for it.
TEST_F(SafetensorsFileTest, AHeaderOfMillionsOfBracketsIsDamageAndTakesNoMemoryForThem) {
  const std::string header = absl::StrCat("{\"a\":", std::string(4'000'000, '['));
  const uint64_t length = header.size();
  std::ofstream file(path(), std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length));
  file << header;
  file.close();
  EXPECT_EQ(SafetensorsFile::Open(path()).status().code(), absl::StatusCode::kDataLoss);

  RawFile raw;
  raw.AddEntry(R"("deep":{"dtype":"F32","shape":[[[1]]],"data_offsets":[0,4]})");
  raw.Write(path());
  EXPECT_THAT(std::string(SafetensorsFile::Open(path()).status().message()), HasSubstr("nested deeper"));
}

TEST_F(SafetensorsFileTest, OffsetsBehindTheEndAreDamage) {
  RawFile raw;
  raw.Add<float>("a", "F32", {1, 2, 3});
  raw.Write(path());
  std::filesystem::resize_file(path(), std::filesystem::file_size(path()) - 1);
  const absl::Status status = SafetensorsFile::Open(path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("tensor `a`"), HasSubstr("truncated")));
}

}  // namespace
}  // namespace tessera

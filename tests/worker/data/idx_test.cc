#include "worker/data/idx.h"

#include <zlib.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/temporary_folder.h"
#include "tests/worker/data/sample_values.h"
#include "worker/data/install_hint.h"
#include "worker/data/normalization.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

constexpr char kImages[] = "train-images-idx3-ubyte";
constexpr char kLabels[] = "train-labels-idx1-ubyte";
constexpr char kFashionMnist[] = "/usr/share/datasets/fashion-mnist";

std::string BigEndian(uint32_t number) {
  std::string bytes;
  for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<char>(number >> shift));
  return bytes;
}

std::string IdxHeader(const std::vector<uint32_t>& dimensions) {
  std::string bytes = BigEndian(0x0800 + static_cast<uint32_t>(dimensions.size()));
  for (const uint32_t dimension : dimensions) bytes += BigEndian(dimension);
  return bytes;
}

// Two images of 2x3 pixels that count 0..11, labels 4 and 1.
std::string TwoImages() {
  return IdxHeader({2, 2, 3}) + std::string("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b", 12);
}
std::string TwoLabels() { return IdxHeader({2}) + "\x04\x01"; }

class IdxTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.File(name); }

  void Write(const std::string& name, const std::string& bytes) const {
    fs::remove(Path(name));  // some file systems sync a file that is truncated and written again
    std::ofstream(Path(name), std::ios::binary | std::ios::trunc) << bytes;
  }

  void WriteGz(const std::string& name, const std::string& bytes) const {
    const gzFile file = gzopen(Path(name).c_str(), "wb");
    ASSERT_EQ(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())),
              static_cast<int>(bytes.size()));
    ASSERT_EQ(gzclose(file), Z_OK);
  }

  std::string ReadAll(const std::string& name) const {
    std::ifstream file(Path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  absl::StatusOr<std::unique_ptr<Dataset>> Open(const std::string& split = "train") const {
    return DatasetRegistry::Create("data format", "idx",
                                   Options({{"path", folder_.path()}, {"split", split}}));
  }

  // The message with which the data set is refused, under the given code.
  std::string Refusal(absl::StatusCode code) const {
    const absl::Status status = Open().status();
    EXPECT_EQ(status.code(), code) << status;
    return std::string(status.message());
  }

  TemporaryFolder folder_;
};

TEST_F(IdxTest, ReadsPlainFiles) {
  Write(kImages, TwoImages());
  Write(kLabels, TwoLabels());
  const auto dataset = Open();
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->size(), 2U);
  EXPECT_THAT((*dataset)->inputs()[0].shape, ElementsAre(1, 2, 3));
  EXPECT_EQ((*dataset)->classes(), 5);
  EXPECT_THAT(Pixels(**dataset, 1), ElementsAre(6, 7, 8, 9, 10, 11));
  EXPECT_EQ((*dataset)->Label(0), 4);
  EXPECT_EQ((*dataset)->Label(1), 1);
}

TEST_F(IdxTest, ReadsCompressedFiles) {
  WriteGz(absl::StrCat(kImages, ".gz"), TwoImages());
  WriteGz(absl::StrCat(kLabels, ".gz"), TwoLabels());
  const auto dataset = Open();
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_THAT(Pixels(**dataset, 0), ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST_F(IdxTest, TestSplitHasItsOwnFiles) {
  Write("t10k-images-idx3-ubyte", TwoImages());
  WriteGz("t10k-labels-idx1-ubyte.gz", TwoLabels());
  EXPECT_TRUE(Open("test").ok());
  EXPECT_EQ(Open("train").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(IdxTest, MissingFilesAreNotFoundAtTheOptionsPosition) {
  Options options({{"split", "train"}});
  options.Set("path", {folder_.path(), "job.yaml:4:33"});
  const absl::Status status = IdxDataset::Create(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(),
            absl::StrCat("job.yaml:4:33: no data set in ", folder_.path(), ": neither ", kImages, " nor ",
                         kImages, ".gz is there", InstallHint(folder_.path())));
  Write(kImages, TwoImages());
  EXPECT_THAT(Refusal(absl::StatusCode::kNotFound), HasSubstr(kLabels));
}

TEST_F(IdxTest, FolderInPlaceOfAFileIsRefused) {
  fs::create_directories(Path(kImages));
  Write(kLabels, TwoLabels());
  EXPECT_THAT(Refusal(absl::StatusCode::kInvalidArgument), HasSubstr("not a regular file"));
}

TEST_F(IdxTest, EveryTruncationSaysHowManyBytesOfHowMany) {
  const std::string whole = TwoImages();
  Write(kLabels, TwoLabels());
  for (size_t length = 0; length < whole.size(); ++length) {
    Write(kImages, whole.substr(0, length));
    const size_t expected = length < 16 ? 16 : whole.size();
    EXPECT_EQ(Refusal(absl::StatusCode::kDataLoss),
              absl::StrCat(Path(kImages), ": truncated: ", length, " of ", expected, " bytes"));
  }
}

TEST_F(IdxTest, TruncatedLabelsAreNamed) {
  Write(kImages, TwoImages());
  Write(kLabels, TwoLabels().substr(0, 9));
  EXPECT_THAT(Refusal(absl::StatusCode::kDataLoss),
              AllOf(HasSubstr(kLabels), EndsWith("truncated: 9 of 10 bytes")));
}

TEST_F(IdxTest, TruncatedCompressionIsDamage) {
  const std::string name = absl::StrCat(kImages, ".gz");
  WriteGz(name, TwoImages());
  Write(kLabels, TwoLabels());
  const std::string whole = ReadAll(name);
  for (size_t length = 2; length < whole.size(); ++length) {
    Write(name, whole.substr(0, length));
    const absl::Status status = Open().status();
    EXPECT_FALSE(status.ok()) << length;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name)) << length;
  }
}

TEST_F(IdxTest, DamagedCompressionIsSeenByItsChecksum) {
  const std::string name = absl::StrCat(kImages, ".gz");
  WriteGz(name, TwoImages());
  Write(kLabels, TwoLabels());
  std::string bytes = ReadAll(name);
  bytes[bytes.size() - 8] = static_cast<char>(bytes[bytes.size() - 8] ^ 1);  // the stored CRC
  Write(name, bytes);
  EXPECT_THAT(Refusal(absl::StatusCode::kDataLoss), HasSubstr(name));
}

TEST_F(IdxTest, ForeignFilesSayWhatWasFound) {
  Write(kLabels, TwoLabels());
  Write(kImages, "\x89PNG\r\n\x1a\n and more that looks like nothing known");
  EXPECT_THAT(Refusal(absl::StatusCode::kInvalidArgument),
              AllOf(HasSubstr(kImages), HasSubstr("starts with 0x89504e47, not 0x00000803")));
  Write(kImages, TwoLabels());
  EXPECT_THAT(Refusal(absl::StatusCode::kInvalidArgument), HasSubstr("starts with 0x00000801"));
}

TEST_F(IdxTest, CountsMustAgree) {
  Write(kImages, TwoImages());
  Write(kLabels, IdxHeader({3}) + "abc");
  EXPECT_THAT(Refusal(absl::StatusCode::kDataLoss), AllOf(HasSubstr("2 images"), HasSubstr("3 labels")));
}

TEST_F(IdxTest, TrailingBytesAreDamage) {
  Write(kLabels, TwoLabels());
  Write(kImages, TwoImages() + "x");
  EXPECT_THAT(Refusal(absl::StatusCode::kDataLoss), HasSubstr("trailing bytes after the 28"));
}

TEST_F(IdxTest, AbsurdDimensionsAreRefusedBeforeAllocating) {
  constexpr uint32_t kMax = 0xffffffff;
  Write(kLabels, TwoLabels());
  Write(kImages, IdxHeader({kMax, kMax, kMax}));
  EXPECT_THAT(Refusal(absl::StatusCode::kDataLoss),
              HasSubstr("absurd dimensions 4294967295x4294967295x4294967295"));
  Write(kImages, IdxHeader({1 << 20, 1 << 10, 1 << 10}) + "few");  // a terabyte that is not there
  EXPECT_THAT(Refusal(absl::StatusCode::kDataLoss), EndsWith("truncated: 19 of 1099511627792 bytes"));
  Write(kImages, IdxHeader({0, 28, 28}));
  EXPECT_THAT(Refusal(absl::StatusCode::kDataLoss), HasSubstr("empty dimension in 0x28x28"));
}

TEST_F(IdxTest, OptionsAreChecked) {
  const auto error = [](Options options) {
    const absl::Status status = IdxDataset::Create(std::move(options)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(error(Options({{"split", "train"}})), "missing `path`");
  EXPECT_EQ(error(Options({{"path", "x"}})), "missing `split`");
  EXPECT_EQ(error(Options({{"path", "x"}, {"split", "val"}})), "`split` must be train or test, not `val`");
  EXPECT_THAT(error(Options({{"path", "x"}, {"split", "test"}, {"spilt", "test"}})),
              HasSubstr("did you mean `split`?"));
}

// The package's own data: an installed dependency of the project.
TEST(FashionMnist, IsReadWhole) {
  const auto dataset = IdxDataset::Create(Options({{"path", kFashionMnist}, {"split", "train"}}));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->size(), 60'000U);
  EXPECT_THAT((*dataset)->inputs()[0].shape, ElementsAre(1, 28, 28));
  EXPECT_EQ((*dataset)->classes(), 10);
  EXPECT_EQ((*dataset)->Label(0), 9);
  const InputNormalization measured = InputNormalization::Measure(**dataset, 0);
  EXPECT_NEAR(measured.mean()[0], 0.2860, 5e-5);
  EXPECT_NEAR(measured.std()[0], 0.3530, 5e-5);
}

TEST(FashionMnist, HasATestSplit) {
  const auto dataset =
      IdxDataset::Create(Options({{"path", absl::StrCat(kFashionMnist, "/")}, {"split", "test"}}));
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ((*dataset)->size(), 10'000U);
}

}  // namespace
}  // namespace tessera

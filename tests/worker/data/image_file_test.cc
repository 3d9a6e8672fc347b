#include "worker/data/image_file.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/temporary_folder.h"
#include "tests/worker/data/image_writer.h"

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ImageFileTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& bytes) const {
    std::filesystem::remove(folder_.File(name));
    std::ofstream(folder_.File(name), std::ios::binary | std::ios::trunc) << bytes;
    return folder_.File(name);
  }

  absl::StatusOr<Image> Read(const std::string& bytes) const { return ReadImageFile(Write("file", bytes)); }

  std::string Refusal(const std::string& bytes, absl::StatusCode code) const {
    const absl::Status status = Read(bytes).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), StartsWith(absl::StrCat(folder_.File("file"), ": ")));
    return std::string(status.message());
  }

  TemporaryFolder folder_;
};

void ExpectNear(const Image& actual, const Image& expected, int tolerance) {
  EXPECT_EQ(actual.channels, expected.channels);
  EXPECT_EQ(actual.height, expected.height);
  EXPECT_EQ(actual.width, expected.width);
  ASSERT_EQ(actual.pixels.size(), expected.pixels.size());
  for (size_t i = 0; i < expected.pixels.size(); ++i) {
    ASSERT_LE(std::abs(actual.pixels[i] - expected.pixels[i]), tolerance) << i;
  }
}

TEST_F(ImageFileTest, ReadsPngExactlyAndJpegNearly) {
  for (int64_t channels : {1, 3}) {
    const Image image = Gradient(channels, 13, 9);
    const absl::StatusOr<Image> png = Read(PngBytes(image)), jpeg = Read(JpegBytes(image));
    ASSERT_TRUE(png.ok()) << png.status();
    ASSERT_TRUE(jpeg.ok()) << jpeg.status();
    ExpectNear(*png, image, 0);
    ExpectNear(*jpeg, image, 3);
  }
}

TEST_F(ImageFileTest, HeadersTellWhatDecodingGives) {
  for (const std::string& bytes : {PngBytes(Gradient(3, 13, 9)), JpegBytes(Gradient(1, 13, 9))}) {
    const absl::StatusOr<ImageHeader> header = ReadImageHeader(Write("file", bytes));
    const absl::StatusOr<Image> image = Read(bytes);
    ASSERT_TRUE(header.ok() && image.ok());
    EXPECT_EQ(header->channels, image->channels);
    EXPECT_EQ(header->height, 13);
    EXPECT_EQ(header->width, 9);
  }
}

TEST_F(ImageFileTest, TransparencyLiesOverBlack) {
  const absl::StatusOr<Image> image =
      Read(PngBytes(PNG_FORMAT_RGBA, 1, 2, {200, 100, 50, 255, 200, 100, 50, 0}));
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_THAT(image->pixels, ElementsAre(200, 100, 50, 0, 0, 0));
}

// (A PNG ends in a mark of 12 bytes behind its last pixel, which is not missed.)
TEST_F(ImageFileTest, ATruncatedImageIsOneErrorThatNamesTheFile) {
  for (const std::string& whole : {PngBytes(Gradient(3, 12, 12)), JpegBytes(Gradient(3, 12, 12))}) {
    const bool is_png = whole[0] == '\x89';
    for (size_t length = 0; length < whole.size() - (is_png ? 12 : 0); ++length) {
      const absl::Status status = Read(whole.substr(0, length)).status();
      EXPECT_FALSE(status.ok()) << length << " of " << whole.size() << " bytes";
      EXPECT_THAT(std::string(status.message()), StartsWith(absl::StrCat(folder_.File("file"), ": ")))
          << length;
    }
  }
}

// Whatever the bytes are, the answer is an image or an error; sanitizers see the rest.
TEST_F(ImageFileTest, NoDamagedByteCrashes) {
  for (const std::string& whole : {PngBytes(Gradient(3, 12, 12)), JpegBytes(Gradient(1, 12, 12))}) {
    for (size_t at = 0; at < whole.size(); ++at) {
      for (const int flip : {0x01, 0x80, 0xff}) {
        std::string damaged = whole;
        damaged[at] = static_cast<char>(damaged[at] ^ flip);
        const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(damaged.data()),
                                              damaged.size());
        const absl::StatusOr<Image> image = whole[0] == '\x89' ? DecodePng(bytes) : DecodeJpeg(bytes);
        if (!image.ok()) continue;
        EXPECT_EQ(static_cast<int64_t>(image->pixels.size()), image->channels * image->height * image->width);
      }
    }
  }
}

TEST_F(ImageFileTest, DamageIsNamed) {
  std::string png = PngBytes(Gradient(3, 12, 12));
  png[png.size() - 20] = static_cast<char>(png[png.size() - 20] ^ 1);  // in the pixels, before their checksum
  EXPECT_THAT(Refusal(png, absl::StatusCode::kDataLoss), HasSubstr("damaged PNG: "));
  const std::string jpeg = JpegBytes(Gradient(3, 32, 32));
  EXPECT_THAT(Refusal(jpeg.substr(0, jpeg.size() - 9), absl::StatusCode::kDataLoss),
              AllOf(HasSubstr("damaged JPEG: "), HasSubstr("Premature end")));
}

TEST_F(ImageFileTest, DamageBesideThePixelsOfAPngIsPassedOver) {
  const Image image = Gradient(3, 12, 12);
  std::string png = PngBytes(image);
  constexpr size_t kHeaderBytes = 8 + 25;  // the signature and the first chunk
  png.insert(kHeaderBytes, std::string("\0\0\0\3tEXta\0bcrc?", 15));
  const absl::StatusOr<Image> read = Read(png);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->pixels, image.pixels);
}

// A progressive image names each of its scans; a thousand of a few bytes would be decoded for minutes.
TEST_F(ImageFileTest, JpegsOfEndlessScansAreRefused) {
  std::string jpeg = JpegBytes(Gradient(1, 16, 16), TJFLAG_PROGRESSIVE);
  const size_t scan = jpeg.find("\xff\xda");
  const size_t next = jpeg.find("\xff\xc4", scan);  // the tables of the second scan
  ASSERT_TRUE(scan != std::string::npos && next != std::string::npos);
  const std::string first = jpeg.substr(scan, next - scan);
  for (int i = 0; i < 600; ++i) jpeg.insert(scan, first);
  EXPECT_THAT(Refusal(jpeg, absl::StatusCode::kDataLoss), HasSubstr("more than 500 scans"));
}

TEST_F(ImageFileTest, ClaimedSizesBeyondTheLimitsAreRefused) {
  std::string jpeg = JpegBytes(Gradient(1, 12, 12));
  const size_t frame = jpeg.find("\xff\xc0");  // length (2), precision (1), height (2), width (2)
  ASSERT_NE(frame, std::string::npos);
  for (size_t at = frame + 5; at < frame + 9; ++at) jpeg[at] = '\x7f';
  EXPECT_THAT(Refusal(jpeg, absl::StatusCode::kInvalidArgument),
              HasSubstr("an image of 32639x32639 is larger than"));
  EXPECT_FALSE(CheckImageSize(0, 5).ok());
  EXPECT_TRUE(CheckImageSize(kMaxImageSide, kMaxImagePixels / kMaxImageSide).ok());
  EXPECT_FALSE(CheckImageSize(kMaxImageSide, kMaxImagePixels / kMaxImageSide + 1).ok());
  EXPECT_FALSE(CheckImageSize(kMaxImageSide + 1, 1).ok());
}

TEST_F(ImageFileTest, OtherFilesSayWhatWasFound) {
  EXPECT_THAT(Refusal("GIF89a and more", absl::StatusCode::kInvalidArgument),
              HasSubstr("neither JPEG nor PNG: it starts with 0x4749463839612061"));
  EXPECT_THAT(Refusal("", absl::StatusCode::kDataLoss), HasSubstr("the file is empty"));
  EXPECT_EQ(ReadImageFile(folder_.File("none")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ImageFileTest, ColoursForPrintAreRefused) {
  tjhandle compressor = tjInitCompress();
  const std::vector<uint8_t> pixels(4 * 8 * 8, 100);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;  // NOLINT: the library's type
  ASSERT_EQ(tjCompress2(compressor, pixels.data(), 8, 0, 8, TJPF_CMYK, &bytes, &size, TJSAMP_444, 90, 0), 0);
  const std::string file(reinterpret_cast<const char*>(bytes), size);
  tjFree(bytes);
  tjDestroy(compressor);
  EXPECT_THAT(Refusal(file, absl::StatusCode::kInvalidArgument), HasSubstr("CMYK"));
}

}  // namespace
}  // namespace tessera

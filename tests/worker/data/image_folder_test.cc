#include "worker/data/image_folder.h"

#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/temporary_folder.h"
#include "tests/worker/data/image_writer.h"
#include "tests/worker/data/sample_values.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A plain image, whose first channel is `level`, the second one more, ...
Image Plain(uint8_t level, int64_t channels = 3, int64_t height = 2, int64_t width = 3) {
  Image image{channels, height, width, {}};
  for (int64_t i = 0; i < height * width * channels; ++i) {
    image.pixels.push_back(static_cast<uint8_t>(level + i % channels));
  }
  return image;
}

class ImageFolderTest : public testing::Test {
 protected:
  void Write(const std::string& name, const std::string& bytes) const {
    const fs::path path = folder_.File(name);
    fs::create_directories(path.parent_path());
    fs::remove(path);
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }

  absl::StatusOr<std::unique_ptr<Dataset>> Open(
      std::vector<std::pair<std::string, std::string>> more = {}) const {
    Options options;
    options.Set("path", {folder_.path(), "job.yaml:4:9"});
    options.Set("split", {std::string("train"), "job.yaml:4:20"});
    for (auto& [key, value] : more) options.Set(key, {value, "job.yaml:5:5"});
    return DatasetRegistry::Create("data format", "image_folder", options);
  }

  std::unique_ptr<Dataset> OpenWithSize(std::vector<std::string> size) const {
    Options options({{"path", folder_.path()}, {"split", "train"}});
    options.Set("size", {std::move(size), ""});
    auto dataset = ImageFolderDataset::Create(options);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return *std::move(dataset);
  }

  std::string Refusal(std::vector<std::pair<std::string, std::string>> more = {}) const {
    return std::string(Open(std::move(more)).status().message());
  }

  TemporaryFolder folder_;
};

TEST_F(ImageFolderTest, ClassesAreFoldersInByteOrderAndFilesFollowTheirNames) {
  Write("train/dog/b.png", PngBytes(Plain(20)));
  Write("train/dog/a.PNG", PngBytes(Plain(10)));
  Write("train/cat/10.jpeg", JpegBytes(Plain(40)));
  Write("train/cat/9.jpg", JpegBytes(Plain(50)));
  Write("train/Zebra/x.JPG", JpegBytes(Plain(60)));
  Write("train/cat/notes.txt", "not an image");
  Write("train/list.txt", "not a class");
  const auto dataset = Open();
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_THAT((*dataset)->class_names(), ElementsAre("Zebra", "cat", "dog"));
  EXPECT_EQ((*dataset)->classes(), 3);
  EXPECT_EQ((*dataset)->size(), 5U);
  EXPECT_EQ((*dataset)->inputs(), (std::vector<nn::InputSpec>{{"image", {3, 2, 3}}}));
  ASSERT_TRUE((*dataset)->Load().ok());
  std::vector<std::pair<int, int>> labels_and_levels;
  for (uint32_t i = 0; i < 5; ++i) {
    labels_and_levels.emplace_back((*dataset)->Label(i), (Pixels(**dataset, i)[0] + 5) / 10 * 10);
  }
  using Pair = std::pair<int, int>;
  EXPECT_THAT(labels_and_levels,
              ElementsAre(Pair(0, 60), Pair(1, 40), Pair(1, 50), Pair(2, 10), Pair(2, 20)));
}

TEST_F(ImageFolderTest, PixelsAreInPlanes) {
  Write("train/a/1.png", PngBytes(Plain(7, 3, 1, 2)));
  const auto dataset = Open();
  ASSERT_TRUE(dataset.ok() && (*dataset)->Load().ok());
  EXPECT_THAT(Pixels(**dataset, 0), ElementsAre(7, 7, 8, 8, 9, 9));
}

TEST_F(ImageFolderTest, WithoutASplitTheClassesLieInThePathItself) {
  Write("a/1.png", PngBytes(Plain(7)));
  EXPECT_TRUE(ImageFolderDataset::Create(Options({{"path", folder_.path()}})).ok());
}

TEST_F(ImageFolderTest, GreyOrColourIsTakenFromTheFirstImageOrSaid) {
  Write("train/a/1.png", PngBytes(Plain(7, 1)));
  Write("train/b/1.png", PngBytes(Plain(7, 3)));
  const auto mixed = Open();
  ASSERT_TRUE(mixed.ok());
  EXPECT_THAT((*mixed)->inputs()[0].shape, ElementsAre(1, 2, 3));
  EXPECT_THAT(
      std::string((*mixed)->Load().message()),
      AllOf(HasSubstr("train/b/1.png is in colour but the first image is grey"), HasSubstr("`channels: 3`")));
  const auto colour = Open({{"channels", "3"}});
  ASSERT_TRUE(colour.ok() && (*colour)->Load().ok());
  EXPECT_THAT(Pixels(**colour, 0), Each(7));
  EXPECT_THAT(Pixels(**colour, 1)[17], 9);
  const auto grey = Open({{"channels", "1"}});
  ASSERT_TRUE(grey.ok() && (*grey)->Load().ok());
  EXPECT_THAT(Pixels(**grey, 1), Each(8));  // of 7, 8, 9
}

TEST_F(ImageFolderTest, OneImageOfAnotherSizeIsNamedUnlessAllAreResized) {
  Write("train/a/1.png", PngBytes(Plain(7)));
  Write("train/a/2.png", PngBytes(Plain(7, 3, 5, 4)));
  const auto dataset = Open();
  ASSERT_TRUE(dataset.ok());
  EXPECT_THAT(std::string((*dataset)->Load().message()),
              AllOf(HasSubstr("train/a/2.png has 5x4 pixels but the first image has 2x3"),
                    HasSubstr("`size: [H, W]`")));
  const auto resized = OpenWithSize({"4", "2"});
  EXPECT_THAT(resized->inputs()[0].shape, ElementsAre(3, 4, 2));
  ASSERT_TRUE(resized->Load().ok());
  for (uint32_t i : {0U, 1U}) EXPECT_THAT(Pixels(*resized, i).first(8), Each(7));
}

TEST_F(ImageFolderTest, ADamagedImageIsFoundByLoadAndNamedEveryTime) {
  Write("train/a/1.jpg", JpegBytes(Gradient(3, 16, 16)));
  const std::string jpeg = JpegBytes(Gradient(3, 16, 16));
  Write("train/a/2.jpg", jpeg.substr(0, jpeg.size() / 2));
  const auto dataset = Open();
  ASSERT_TRUE(dataset.ok()) << "opening looks at the first image alone";
  for (int time = 0; time < 2; ++time) {
    const absl::Status status = (*dataset)->Load();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), HasSubstr("train/a/2.jpg: damaged JPEG"));
  }
  Write("train/a/1.jpg", "broken");
  EXPECT_THAT(Refusal(), HasSubstr("train/a/1.jpg: neither JPEG nor PNG"));
}

TEST_F(ImageFolderTest, LoadsOnceForSeveralThreads) {
  for (int i = 0; i < 20; ++i)
    Write(absl::StrCat("train/a/", 10 + i, ".png"), PngBytes(Plain(static_cast<uint8_t>(i))));
  const auto dataset = Open();
  ASSERT_TRUE(dataset.ok());
  std::vector<std::thread> threads;
  std::vector<int> sums(4);
  for (int& sum : sums) {
    threads.emplace_back([&] {
      if (!(*dataset)->Load().ok()) return;
      for (uint32_t i = 0; i < (*dataset)->size(); ++i) sum += Pixels(**dataset, i)[0];
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(sums, Each(190));
}

TEST_F(ImageFolderTest, FoldersThatAreNotThereOrEmptyAreNamed) {
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Refusal(), absl::StrCat("job.yaml:4:9: no folder ", folder_.path(), "/train"));
  fs::create_directories(folder_.File("train"));
  EXPECT_THAT(Refusal(), HasSubstr("has no folders of images"));
  fs::create_directories(folder_.File("train/empty"));
  EXPECT_THAT(Refusal(),
              AllOf(StartsWith("job.yaml:4:9: class folder "), HasSubstr("train/empty has no .jpg")));
}

TEST_F(ImageFolderTest, OptionsAreChecked) {
  Write("train/a/1.png", PngBytes(Plain(7)));
  EXPECT_EQ(Refusal({{"channels", "2"}}), "job.yaml:5:5: `channels` must be auto, 1 or 3, not `2`");
  EXPECT_THAT(Refusal({{"size", "32"}}), StartsWith("job.yaml:5:5: `size` is [H, W]"));
  EXPECT_THAT(Refusal({{"colour", "red"}}), StartsWith("job.yaml:5:5: unknown option `colour`"));
  for (const std::vector<std::string>& size : std::vector<std::vector<std::string>>{
           {"0", "5"}, {"5", "-1"}, {"5", "x"}, {"5", "5", "5"}, {"99999", "1"}}) {
    Options options({{"path", folder_.path()}, {"split", "train"}});
    options.Set("size", {size, ""});
    EXPECT_THAT(std::string(ImageFolderDataset::Create(options).status().message()),
                StartsWith("`size` is [H, W]"));
  }
}

}  // namespace
}  // namespace tessera

#include "cli/target.h"

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "tests/common/temporary_folder.h"

namespace tessera::cli {
namespace {

using testing::HasSubstr;

TEST(Target, CoordinatorStandsForItself) {
  const auto target = ResolveTarget("", "somewhere:7070");
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(target->address, "somewhere:7070");
  EXPECT_EQ(target->folder, "");
}

TEST(Target, RunFolderHoldsTheAddress) {
  const TemporaryFolder folder;
  std::ofstream(folder.File("coordinator")) << "127.0.0.1:4711\n";
  const auto target = ResolveTarget(folder.path(), "");
  ASSERT_TRUE(target.ok());
  EXPECT_EQ(target->address, "127.0.0.1:4711");
  EXPECT_EQ(target->folder, folder.path());
}

TEST(Target, OtherFoldersAreRefusedByName) {
  const TemporaryFolder folder;
  const auto target = ResolveTarget(folder.path(), "");
  EXPECT_EQ(target.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(target.status().message()), HasSubstr(folder.path()));
}

// Runs are looked for in the current folder.
class TargetOfJobFileTest : public testing::Test {
 protected:
  TargetOfJobFileTest() : old_(std::filesystem::current_path()) {
    std::filesystem::current_path(folder_.path());
  }
  ~TargetOfJobFileTest() override { std::filesystem::current_path(old_); }

  const std::string job_ = TESSERA_SOURCE_DIR "/config/examples/fashion-lenet.yaml";

 private:
  const std::filesystem::path old_;
  TemporaryFolder folder_;
};

TEST_F(TargetOfJobFileTest, WithoutARunMeansTheFilesCoordinator) {
  const auto target = ResolveTarget(job_, "");
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_EQ(target->address, "127.0.0.1:7070");
  EXPECT_EQ(target->folder, "");
  EXPECT_EQ(target->job, "fashion-lenet");
}

TEST_F(TargetOfJobFileTest, WithARunMeansThatRun) {
  std::filesystem::create_directories("runs/fashion-lenet");
  std::ofstream("runs/fashion-lenet/coordinator") << "127.0.0.1:4711\n";
  const auto target = ResolveTarget(job_, "");
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_EQ(target->address, "127.0.0.1:4711");
  EXPECT_EQ(target->folder, "runs/fashion-lenet");
}

TEST(Target, NeitherAndBothAreRefused) {
  EXPECT_EQ(ResolveTarget("", "").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ResolveTarget("job.yaml", "a:1").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ResolveTarget("", "nowhere").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Target, MissingFileIsNamed) {
  const auto target = ResolveTarget("/nonexistent/job.yaml", "");
  EXPECT_THAT(std::string(target.status().message()), HasSubstr("/nonexistent/job.yaml"));
}

}  // namespace
}  // namespace tessera::cli

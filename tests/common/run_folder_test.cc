#include "common/run_folder.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/common/temporary_folder.h"

namespace tessera {
namespace {

using testing::HasSubstr;

class RunFolderTest : public testing::Test {
 protected:
  std::string Root() const { return folder_.File("runs"); }
  bool Exists(const std::string& path) const { return std::filesystem::exists(folder_.File(path)); }

  TemporaryFolder folder_;
};

TEST_F(RunFolderTest, MakesTheFolderAndItsLogs) {
  const auto run = RunFolder::Create(Root(), "job");
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->path(), folder_.File("runs/job"));
  EXPECT_EQ(run->moved_to(), "");
  EXPECT_TRUE(Exists("runs/job/logs"));
}

TEST_F(RunFolderTest, SecondRunAtTheSameTimeIsRefusedWithThePidOfTheFirst) {
  const auto first = RunFolder::Create(Root(), "job");
  ASSERT_TRUE(first.ok());
  std::ofstream(first->path() + "/mark") << "first";
  const auto second = RunFolder::Create(Root(), "job");
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("`job`"));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(absl::StrCat("(pid ", getpid(), ")")));
  EXPECT_TRUE(Exists("runs/job/mark"));
}

TEST_F(RunFolderTest, AnotherNameMayRunAtTheSameTime) {
  const auto first = RunFolder::Create(Root(), "job");
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(RunFolder::Create(Root(), "other").ok());
}

TEST_F(RunFolderTest, LaterRunsMoveTheOldFolderToTheFirstFreeNumber) {
  for (const char* content : {"one", "two", "three"}) {
    const auto run = RunFolder::Create(Root(), "job");
    ASSERT_TRUE(run.ok()) << run.status();
    std::ofstream(run->path() + "/" + content) << content;
  }
  EXPECT_TRUE(Exists("runs/job.1/one"));
  EXPECT_TRUE(Exists("runs/job.2/two"));
  EXPECT_TRUE(Exists("runs/job/three"));
  std::filesystem::remove_all(folder_.File("runs/job.1"));
  const auto run = RunFolder::Create(Root(), "job");
  ASSERT_TRUE(run.ok());
  EXPECT_EQ(run->moved_to(), folder_.File("runs/job.1"));
  EXPECT_FALSE(Exists("runs/job/three"));
}

TEST_F(RunFolderTest, NamesThatAreNoFolderNamesAreRefused) {
  for (const char* name : {"", ".", "..", ".hidden", "a/b", "a b", "a\n"}) {
    EXPECT_EQ(RunFolder::Create(Root(), name).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST_F(RunFolderTest, PlaceThatCannotHoldFoldersIsNamed) {
  std::ofstream(folder_.File("file")) << "no folder";
  const auto run = RunFolder::Create(folder_.File("file"), "job");
  EXPECT_EQ(run.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(run.status().message()), HasSubstr(folder_.File("file")));
}

TEST(RunFolderFiles, LogsAreNamedAfterTheirNodes) {
  EXPECT_EQ(LogFile("runs/x", "server 1"), "runs/x/logs/server-1.log");
  EXPECT_EQ(LogFile("runs/x", "coordinator"), "runs/x/logs/coordinator.log");
}

}  // namespace
}  // namespace tessera

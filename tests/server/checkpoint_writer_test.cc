#include "server/checkpoint_writer.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/common/checkpoint/files.h"
#include "tests/common/checkpoint/snapshots.h"
#include "tests/common/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(30);

// Takes reports; can hold the writer's thread in one.
class Reports {
 public:
  void Hold() {
    MutexLock lock(&mutex_);
    held_ = true;
  }
  void Release() {
    MutexLock lock(&mutex_);
    held_ = false;
    changed_.NotifyAll();
  }
  void Take(Clock clock, absl::StatusOr<CheckpointFileInfo> file) {
    MutexLock lock(&mutex_);
    reports_.emplace_back(clock, std::move(file));
    changed_.NotifyAll();
    const absl::Time deadline = absl::Now() + kPatience;
    while (held_ && absl::Now() < deadline) changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
  }
  // The first `count` reports; fewer when they do not come.
  std::vector<std::pair<Clock, absl::StatusOr<CheckpointFileInfo>>> Wait(size_t count) {
    MutexLock lock(&mutex_);
    const absl::Time deadline = absl::Now() + kPatience;
    while (reports_.size() < count && absl::Now() < deadline) {
      changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
    }
    return reports_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::pair<Clock, absl::StatusOr<CheckpointFileInfo>>> reports_ ABSL_GUARDED_BY(mutex_);
};

class CheckpointWriterTest : public testing::Test {
 protected:
  // Of a server that holds shards 0 and 1.
  std::unique_ptr<CheckpointWriter> MakeWriter(int32_t groups = 1) {
    return std::make_unique<CheckpointWriter>(CheckpointWriterOptions{.dir = dir_,
                                                                      .server_index = 3,
                                                                      .incarnation = "ab-7",
                                                                      .layout = layout_,
                                                                      .shards = {0, 1},
                                                                      .groups = groups},
                                              [this](Clock clock, absl::StatusOr<CheckpointFileInfo> file) {
                                                reports_.Take(clock, std::move(file));
                                              });
  }
  void Add(CheckpointWriter& writer, ShardId shard, Version version) {
    writer.Add(SnapshotOf(layout_, shard, version, static_cast<float>(shard)));
  }
  void AddAll(CheckpointWriter& writer, Version version) {
    for (const ShardId shard : {0, 1}) Add(writer, shard, version);
  }

  const ShardLayout layout_ = SmallLayout();
  TemporaryFolder folder_;
  const std::string dir_ = folder_.File("checkpoints");
  Reports reports_;
};

TEST_F(CheckpointWriterTest, WritesAPartOnceEveryHeldShardIsThere) {
  const auto writer = MakeWriter();
  Add(*writer, 1, 10);
  Add(*writer, 1, 10);  // again
  Add(*writer, 2, 10);  // not held
  Add(*writer, 0, 10);
  const auto reports = reports_.Wait(1);
  ASSERT_EQ(reports.size(), 1U);
  EXPECT_EQ(reports[0].first, 10);
  ASSERT_TRUE(reports[0].second.ok()) << reports[0].second.status();
  EXPECT_EQ(reports[0].second->name, "server-3-ab-7.safetensors");
  const auto read = ReadCheckpointPart(CheckpointPath(dir_, 10), *reports[0].second, layout_);
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->size(), 2U);
  EXPECT_TRUE(SameSnapshot((*read)[0], SnapshotOf(layout_, 0, 10, 0)));
  EXPECT_TRUE(SameSnapshot((*read)[1], SnapshotOf(layout_, 1, 10, 1)));
}

TEST_F(CheckpointWriterTest, ClockIsTheVersionOfOneGroup) {
  const auto writer = MakeWriter(4);
  AddAll(*writer, 40);
  const auto reports = reports_.Wait(1);
  ASSERT_EQ(reports.size(), 1U);
  EXPECT_EQ(reports[0].first, 10);
  EXPECT_TRUE(std::filesystem::exists(CheckpointPath(dir_, 10) + "/server-3-ab-7.safetensors"));
}

TEST_F(CheckpointWriterTest, ThirdUnfinishedClockDropsTheOldest) {
  const auto writer = MakeWriter();
  for (const Version version : {10, 20, 30}) Add(*writer, 0, version);
  auto reports = reports_.Wait(1);
  ASSERT_EQ(reports.size(), 1U);
  EXPECT_EQ(reports[0].first, 10);
  EXPECT_EQ(reports[0].second.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(reports[0].second.status().message()), HasSubstr("step 10"));
  for (const Version version : {10, 20, 30}) Add(*writer, 1, version);
  reports = reports_.Wait(3);
  ASSERT_EQ(reports.size(), 3U);
  EXPECT_EQ(reports[1].first, 20);
  EXPECT_TRUE(reports[1].second.ok());
  EXPECT_EQ(reports[2].first, 30);
  EXPECT_TRUE(reports[2].second.ok());
  EXPECT_FALSE(std::filesystem::exists(CheckpointPath(dir_, 10)));
}

TEST_F(CheckpointWriterTest, ClockUnderWayCountsAsUnfinished) {
  reports_.Hold();
  const auto writer = MakeWriter();
  AddAll(*writer, 10);
  ASSERT_EQ(reports_.Wait(1).size(), 1U);  // its thread is held in the report of 10
  for (const Version version : {20, 30, 40}) AddAll(*writer, version);
  reports_.Release();
  const auto reports = reports_.Wait(4);
  std::vector<Clock> written, dropped;
  for (const auto& [clock, file] : reports) (file.ok() ? written : dropped).push_back(clock);
  EXPECT_THAT(written, ElementsAre(10, 40));
  EXPECT_THAT(dropped, ElementsAre(20, 30));
}

TEST_F(CheckpointWriterTest, ClockThatANewerOneOvertakesIsDropped) {
  const auto writer = MakeWriter();
  Add(*writer, 0, 10);
  AddAll(*writer, 20);
  const auto reports = reports_.Wait(2);
  ASSERT_EQ(reports.size(), 2U);
  std::vector<Clock> written, dropped;
  for (const auto& [clock, file] : reports) (file.ok() ? written : dropped).push_back(clock);
  EXPECT_THAT(written, ElementsAre(20));
  EXPECT_THAT(dropped, ElementsAre(10));
}

TEST_F(CheckpointWriterTest, FolderThatCannotBeMadeIsReportedAndTheNextIsTried) {
  WriteText(dir_, "a file");
  const auto writer = MakeWriter();
  AddAll(*writer, 10);
  const auto first = reports_.Wait(1);
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first[0].second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(first[0].second.status().message()), HasSubstr(dir_));
  std::filesystem::remove(dir_);
  AddAll(*writer, 20);
  const auto both = reports_.Wait(2);
  ASSERT_EQ(both.size(), 2U);
  EXPECT_TRUE(both[1].second.ok()) << both[1].second.status();
}

TEST_F(CheckpointWriterTest, FullDiskIsReportedWithTheFile) {
  WithFullDisk(256, [&] {
    const auto writer = MakeWriter();
    AddAll(*writer, 10);
    const auto reports = reports_.Wait(1);
    ASSERT_EQ(reports.size(), 1U);
    EXPECT_EQ(reports[0].second.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(reports[0].second.status().message()), HasSubstr("server-3-ab-7.safetensors"));
  });
  EXPECT_EQ(FilesIn(CheckpointPath(dir_, 10)), 0);
}

TEST_F(CheckpointWriterTest, EndsWithWhatIsUnfinishedDropped) {
  auto writer = MakeWriter();
  Add(*writer, 0, 10);
  writer.reset();
  EXPECT_TRUE(reports_.Wait(0).empty());
  EXPECT_FALSE(std::filesystem::exists(dir_));
}

}  // namespace
}  // namespace tessera

#include "coordinator/checkpoint_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "common/checkpoint/checkpoint_folder.h"
#include "tests/common/checkpoint/snapshots.h"
#include "tests/coordinator/test_job.h"

namespace tessera {
namespace {

using testing::HasSubstr;

class CheckpointStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/store/" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    store_ = DiskCheckpoints(plan_, folder_, [] { return absl::UnixEpoch(); });
  }
  // As a server does it, of all shards; returns the folder.
  std::string Take(Clock clock) {
    const std::string path = *MakeCheckpointPath(folder_, clock);
    std::vector<ShardId> shards;
    for (size_t shard = 0; shard < plan_.layout.shards().size(); ++shard) shards.push_back(shard);
    const auto info = WriteCheckpointPart(path, "server-0-a.safetensors", plan_.layout,
                                          SnapshotsOf(plan_.layout, shards, clock));
    EXPECT_TRUE(info.ok()) << info.status();
    wire::CheckpointFile file;
    file.set_name(info->name);
    file.set_bytes(info->bytes);
    file.set_sha256(info->sha256);
    file.mutable_shards()->Assign(info->shards.begin(), info->shards.end());
    const auto folder = store_.finish({clock, {file}}, /*rewind=*/2);
    EXPECT_TRUE(folder.ok()) << folder.status();
    return folder.value_or("");
  }

  const JobPlan plan_ = MakeTestPlan(1, 1);
  std::string folder_;
  CheckpointStore store_;
};

TEST_F(CheckpointStoreTest, FindsTheNewestOneThatItMade) {
  EXPECT_EQ(store_.find_newest()->restore.folder(), "");
  Take(2);
  const std::string path = Take(4);
  const auto found = store_.find_newest();
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->restore.folder(), path);
  EXPECT_EQ(found->restore.clock(), 4);
  ASSERT_EQ(found->restore.files_size(), 1);
  EXPECT_EQ(found->restore.files(0).name(), "server-0-a.safetensors");
  EXPECT_EQ(found->restore.files(0).shards_size(), 2);
}

TEST_F(CheckpointStoreTest, PassesADamagedOneOverByName) {
  Take(2);
  const std::string path = Take(4);
  std::filesystem::resize_file(path + "/server-0-a.safetensors", 100);
  const auto found = store_.find_newest();
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->restore.clock(), 2);
  ASSERT_EQ(found->passed_over.size(), 1u);
  EXPECT_THAT(found->passed_over[0], HasSubstr(path));
}

TEST_F(CheckpointStoreTest, KeepsAsManyAsTheJobSays) {
  for (const Clock clock : {1, 2, 3, 4, 5}) Take(clock);
  EXPECT_EQ(ListCheckpoints(folder_)->size(), static_cast<size_t>(plan_.job.checkpoint.keep));
}

TEST_F(CheckpointStoreTest, ANewRunDoesNotBeginAmongTheCheckpointsOfAnother) {
  EXPECT_TRUE(CheckCheckpointFolder(plan_, folder_, /*resume=*/false).ok());
  EXPECT_TRUE(CheckCheckpointFolder(plan_, folder_ + "/none", /*resume=*/false).ok());
  Take(2);
  EXPECT_EQ(CheckCheckpointFolder(plan_, folder_, /*resume=*/false).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(CheckCheckpointFolder(plan_, folder_, /*resume=*/true).ok());
  JobPlan other = plan_;
  other.job.train.epochs = 7;
  const absl::Status refused = CheckCheckpointFolder(other, folder_, /*resume=*/true);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("train.epochs was `2` and is now `7`"));
}

}  // namespace
}  // namespace tessera

#include "common/checkpoint/checkpoint_folder.h"

#include <string>
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

class CheckpointFolder : public testing::Test {
 protected:
  std::vector<Clock> ClocksThere() const {
    std::vector<Clock> clocks;
    const std::vector<CheckpointEntry> entries = *ListCheckpoints(dir_);
    for (const CheckpointEntry& entry : entries) clocks.push_back(entry.clock);
    return clocks;
  }
  void MakeLeftover(Clock clock) {
    ASSERT_TRUE(MakeCheckpointPath(dir_, clock).ok());
    WriteText(CheckpointPath(dir_, clock) + "/server-0-a.safetensors.x1y2z3", "half");
  }
  void Damage(Clock clock) { FlipBit(CheckpointPath(dir_, clock) + "/server-1-b.safetensors", 500); }

  TemporaryFolder folder_;
  const std::string dir_ = folder_.File("job/checkpoints");
};

TEST_F(CheckpointFolder, NamesSortAsTheirSteps) {
  EXPECT_EQ(CheckpointPath("runs/x", 120), "runs/x/step-000000000120");
}

TEST_F(CheckpointFolder, ListsNewestFirstAndPassesOverWhatIsNamedOtherwise) {
  MakeCheckpoint(dir_, 100);
  MakeCheckpoint(dir_, 20);
  MakeLeftover(120);
  WriteText(dir_ + "/step-000000000300", "a file");
  for (const char* name : {"step-1", "step-00000000000x", "other", "step--00000000001"}) {
    std::filesystem::create_directory(absl::StrCat(dir_, "/", name));
  }
  const auto entries = ListCheckpoints(dir_);
  ASSERT_TRUE(entries.ok()) << entries.status();
  EXPECT_THAT(ClocksThere(), ElementsAre(120, 100, 20));
  EXPECT_EQ((*entries)[0].manifest.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ((*entries)[1].manifest->clock, 100);
  EXPECT_EQ((*entries)[2].path, CheckpointPath(dir_, 20));
}

TEST_F(CheckpointFolder, ThatIsMissingIsNotFound) {
  EXPECT_EQ(ListCheckpoints(dir_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(FindNewestValid(dir_, nullptr).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(CheckpointFolder, DoesNotTakeOneStepForAnother) {
  MakeCheckpoint(dir_, 100);
  std::filesystem::rename(CheckpointPath(dir_, 100), CheckpointPath(dir_, 200));
  EXPECT_EQ(ListCheckpoints(dir_)->front().manifest.status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(CheckpointFolder, VerifiesAWholeCheckpoint) {
  const auto manifest = VerifyCheckpoint(MakeCheckpoint(dir_, 100));
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->clock, 100);
}

TEST_F(CheckpointFolder, VerificationNamesTheDamagedFile) {
  const std::string path = MakeCheckpoint(dir_, 100);
  const std::string part = path + "/server-1-b.safetensors";
  Damage(100);
  EXPECT_THAT(std::string(VerifyCheckpoint(path).status().message()), HasSubstr(part + ": is damaged"));
  WriteText(part, ReadText(part).substr(0, 300));
  EXPECT_THAT(std::string(VerifyCheckpoint(path).status().message()), HasSubstr(part + ": has 300 bytes"));
  std::filesystem::remove(part);
  EXPECT_THAT(std::string(VerifyCheckpoint(path).status().message()), HasSubstr(part));
  std::filesystem::remove(path + "/manifest.json");
  EXPECT_EQ(VerifyCheckpoint(path).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(CheckpointFolder, VerificationWantsEveryShardExactlyOnce) {
  const std::string path = MakeCheckpoint(dir_, 100);
  CheckpointManifest manifest = *ReadManifest(path);
  const CheckpointFileInfo second = manifest.files[1];
  manifest.files.pop_back();
  ASSERT_TRUE(WriteManifest(path, manifest).ok());
  EXPECT_THAT(std::string(VerifyCheckpoint(path).status().message()), HasSubstr("no file has fc [16,20)"));
  manifest.files.push_back(second);
  manifest.files[1].shards = {0, 1};
  ASSERT_TRUE(WriteManifest(path, manifest).ok());
  const absl::Status status = VerifyCheckpoint(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("server-1-b.safetensors: has fc [0,16), as server-0-a.safetensors has"));
}

TEST_F(CheckpointFolder, FindsTheOneBeforeADamagedOneAndSaysSo) {
  MakeCheckpoint(dir_, 100);
  MakeCheckpoint(dir_, 200);
  MakeCheckpoint(dir_, 300);
  MakeLeftover(400);
  Damage(200);
  WriteText(CheckpointPath(dir_, 300) + "/manifest.json", "{}");
  std::vector<std::string> passed_over;
  const auto found =
      FindNewestValid(dir_, [&](absl::string_view reason) { passed_over.emplace_back(reason); });
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->path, CheckpointPath(dir_, 100));
  EXPECT_EQ(found->manifest.clock, 100);
  EXPECT_THAT(passed_over, ElementsAre(HasSubstr("step-000000000300/manifest.json"),
                                       HasSubstr("step-000000000200/server-1-b.safetensors: is damaged")));
}

TEST_F(CheckpointFolder, PruningKeepsTheNewestOnes) {
  for (const Clock clock : {100, 200, 300, 400}) MakeCheckpoint(dir_, clock);
  WriteText(dir_ + "/probe", "x");
  EXPECT_TRUE(PruneCheckpoints(dir_, 2).ok());
  EXPECT_THAT(ClocksThere(), ElementsAre(400, 300));
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/probe"));
}

TEST_F(CheckpointFolder, PruningNeverRemovesTheNewestValidOne) {
  for (const Clock clock : {100, 200, 300, 400}) MakeCheckpoint(dir_, clock);
  Damage(300);
  Damage(400);
  EXPECT_TRUE(PruneCheckpoints(dir_, 1).ok());
  EXPECT_THAT(ClocksThere(), ElementsAre(400, 200));
}

TEST_F(CheckpointFolder, PruningRemovesOnlyLeftoversThatAreOlderThanTheNewestValidOne) {
  MakeLeftover(100);
  MakeCheckpoint(dir_, 200);
  MakeLeftover(300);
  EXPECT_TRUE(PruneCheckpoints(dir_, 3).ok());
  EXPECT_THAT(ClocksThere(), ElementsAre(300, 200));
}

TEST_F(CheckpointFolder, PruningWithoutAValidOneRemovesNothing) {
  MakeLeftover(100);
  MakeCheckpoint(dir_, 200);
  MakeCheckpoint(dir_, 300);
  Damage(200);
  Damage(300);
  EXPECT_TRUE(PruneCheckpoints(dir_, 1).ok());
  EXPECT_THAT(ClocksThere(), ElementsAre(300, 200, 100));
}

TEST_F(CheckpointFolder, OfAnEarlierRunIsSetAsideWhole) {
  EXPECT_EQ(*SetAsideCheckpoints(dir_), "");
  for (const char* where : {"/earlier.1", "/earlier.2"}) {
    MakeCheckpoint(dir_, 100);
    MakeLeftover(200);
    const auto moved = SetAsideCheckpoints(dir_);
    ASSERT_TRUE(moved.ok()) << moved.status();
    EXPECT_EQ(*moved, dir_ + where);
    EXPECT_THAT(ClocksThere(), ElementsAre());
    EXPECT_TRUE(VerifyCheckpoint(CheckpointPath(*moved, 100)).ok());
    EXPECT_TRUE(std::filesystem::exists(CheckpointPath(*moved, 200)));
  }
  EXPECT_EQ(*SetAsideCheckpoints(dir_), "");
}

TEST_F(CheckpointFolder, ProbeTellsTheCoordinatorsFolderFromOthers) {
  const auto probe = WriteProbe(dir_);
  ASSERT_TRUE(probe.ok()) << probe.status();
  EXPECT_EQ(probe->size(), 32U);
  EXPECT_TRUE(CheckProbe(dir_, *probe).ok());
  const std::string other = folder_.File("other");
  ASSERT_NE(*WriteProbe(other), *probe);
  for (const std::string& wrong : {other, folder_.File("none")}) {
    const absl::Status status = CheckProbe(wrong, *probe);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("checkpoint.dir must be visible to all servers"));
    EXPECT_THAT(std::string(status.message()), HasSubstr(wrong));
  }
}

TEST_F(CheckpointFolder, ThatCannotBeMadeIsUnavailableWithItsName) {
  WriteText(folder_.File("job"), "a file");
  EXPECT_EQ(WriteProbe(dir_).status().code(), absl::StatusCode::kUnavailable);
  const absl::Status status = MakeCheckpointPath(dir_, 7).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(dir_));
}

}  // namespace
}  // namespace tessera

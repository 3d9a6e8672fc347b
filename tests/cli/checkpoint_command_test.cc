#include "cli/checkpoint_command.h"

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "cli/exit_codes.h"
#include "common/assemble.h"
#include "common/safetensors_file.h"
#include "gmock/gmock.h"
#include "tests/common/checkpoint/files.h"
#include "tests/common/checkpoint/snapshots.h"
#include "tests/common/temporary_folder.h"

namespace tessera::cli {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class CheckpointCommandTest : public testing::Test {
 protected:
  CheckpointCommandTest() {
    console_.out = [this](absl::string_view text) { out_.append(text.data(), text.size()); };
    console_.err = [this](absl::string_view text) { err_.append(text.data(), text.size()); };
  }
  void Damage(Clock clock) { FlipBit(CheckpointPath(dir_, clock) + "/server-1-b.safetensors", 500); }
  // The digest of the weights that MakeCheckpoint saves, without checkpoints in between.
  std::string DigestOfSavedWeights() const {
    const ShardLayout layout = SmallLayout();
    std::vector<SharedTensor> weights;
    for (const ShardSnapshot& snapshot : SnapshotsOf(layout, {0, 1, 2}, 100)) {
      weights.push_back(snapshot.weights);
    }
    return WeightsDigest(*AssembleTensors(layout, weights));
  }

  TemporaryFolder folder_;
  const std::string run_ = folder_.File("run");
  const std::string dir_ = run_ + "/checkpoints";
  const std::string model_ = folder_.File("model.safetensors");
  Console console_;
  std::string out_, err_;
};

TEST_F(CheckpointCommandTest, ExportIsTheModelThatWasSavedByItsNames) {
  const std::string path = MakeCheckpoint(dir_, 100);
  EXPECT_EQ(ExportModel(path, model_, console_), kExitOk) << err_;
  const auto model = ReadSafetensors(model_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(WeightsDigest(*model), DigestOfSavedWeights());
  EXPECT_THAT(out_, HasSubstr(absl::StrCat("weights digest  ", DigestOfSavedWeights())));
  ASSERT_EQ(model->size(), 3U);
  EXPECT_EQ(model->at("fc.weight").shape, (Shape{4, 4}));
  EXPECT_EQ(model->at("fc.weight").values[5], 105);
  EXPECT_EQ(model->at("fc.bias").values[0], 200);
  EXPECT_EQ(model->at("bn.running_var").values[3], 303);
}

TEST_F(CheckpointCommandTest, ExportHasTheMetadataOfARunsModel) {
  EXPECT_EQ(ExportModel(MakeCheckpoint(dir_, 100), model_, console_), kExitOk) << err_;
  const auto file = SafetensorsFile::Open(model_);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->metadata(), (std::map<std::string, std::string>{
                                  {"job", "small"}, {"weights_digest", DigestOfSavedWeights()}}));
}

TEST_F(CheckpointCommandTest, ExportOfARunTakesTheNewestThatIsWhole) {
  MakeCheckpoint(dir_, 100);
  MakeCheckpoint(dir_, 200);
  Damage(200);
  EXPECT_EQ(ExportModel(run_, model_, console_), kExitOk);
  EXPECT_THAT(err_, HasSubstr("passed over: "));
  EXPECT_THAT(err_, HasSubstr("step-000000000200/server-1-b.safetensors: is damaged"));
  EXPECT_THAT(out_, HasSubstr("step-000000000100"));
  EXPECT_TRUE(std::filesystem::exists(model_));
}

TEST_F(CheckpointCommandTest, ExportOfADamagedCheckpointIsRefusedByTheFilesName) {
  const std::string path = MakeCheckpoint(dir_, 100);
  Damage(100);
  EXPECT_EQ(ExportModel(path, model_, console_), kExitFailed);
  EXPECT_THAT(err_, HasSubstr(path + "/server-1-b.safetensors: is damaged"));
  EXPECT_FALSE(std::filesystem::exists(model_));
}

TEST_F(CheckpointCommandTest, ExportSaysWhatIsNotThere) {
  EXPECT_EQ(ExportModel(folder_.File("none"), model_, console_), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("there is no folder"));
  ASSERT_TRUE(MakeCheckpointPath(dir_, 100).ok());
  EXPECT_EQ(ExportModel(run_, model_, console_), kExitFailed);
  EXPECT_THAT(err_, HasSubstr("has no checkpoint that is whole"));
  EXPECT_EQ(ExportModel(CheckpointPath(dir_, 100), model_, console_), kExitFailed);
  EXPECT_THAT(err_, HasSubstr("step-000000000100/manifest.json"));
  EXPECT_EQ(ExportModel(MakeCheckpoint(dir_, 200), folder_.File("none/model.safetensors"), console_),
            kExitFailed);
  EXPECT_THAT(err_, HasSubstr("none/model.safetensors"));
}

TEST_F(CheckpointCommandTest, ListShowsEachStepWithItsState) {
  MakeCheckpoint(dir_, 100);
  MakeCheckpoint(dir_, 200);
  WriteText(CheckpointPath(dir_, 200) + "/manifest.json", "{}");
  ASSERT_TRUE(MakeCheckpointPath(dir_, 300).ok());
  EXPECT_EQ(ListCheckpointsOf(run_, console_), kExitOk);
  EXPECT_THAT(out_, ContainsRegex("step +time +files +size +state\n"));
  EXPECT_THAT(out_, ContainsRegex("300  - .* not finished\n +200  - .* damaged: .*manifest.json"));
  EXPECT_THAT(out_, ContainsRegex("100  2023-11-14T22:13:20Z +2 +[0-9.]+ KiB  complete\n"));
  EXPECT_EQ(err_, "");
}

TEST_F(CheckpointCommandTest, ListTakesTheCheckpointsFolderItselfToo) {
  EXPECT_EQ(ListCheckpointsOf(dir_, console_), kExitUsage);
  MakeCheckpoint(dir_, 100);
  EXPECT_EQ(ListCheckpointsOf(dir_, console_), kExitOk);
  EXPECT_THAT(out_, HasSubstr("complete"));
  out_.clear();
  EXPECT_EQ(ListCheckpointsOf(CheckpointPath(dir_, 100), console_), kExitOk);
  EXPECT_THAT(out_, HasSubstr("has no checkpoint"));
}

TEST_F(CheckpointCommandTest, VerifySaysWhatIsWhole) {
  const std::string path = MakeCheckpoint(dir_, 100);
  EXPECT_EQ(VerifyCheckpoints(path, console_), kExitOk) << err_;
  EXPECT_THAT(out_, HasSubstr(path + ": whole: step 100, 2 files, "));
  MakeCheckpoint(dir_, 200);
  ASSERT_TRUE(MakeCheckpointPath(dir_, 300).ok());
  out_.clear();
  EXPECT_EQ(VerifyCheckpoints(run_, console_), kExitOk) << err_;
  EXPECT_THAT(out_, HasSubstr("step-000000000300: not finished\n"));
  EXPECT_THAT(out_, HasSubstr("step-000000000200: whole"));
  EXPECT_THAT(out_, HasSubstr("step-000000000100: whole"));
}

TEST_F(CheckpointCommandTest, VerifyFailsWithTheDamagedFilesNameAndGoesOn) {
  for (const Clock clock : {100, 200, 300}) MakeCheckpoint(dir_, clock);
  Damage(200);
  std::filesystem::remove(CheckpointPath(dir_, 300) + "/server-0-a.safetensors");
  EXPECT_EQ(VerifyCheckpoints(dir_, console_), kExitFailed);
  EXPECT_THAT(err_, HasSubstr("step-000000000200/server-1-b.safetensors: is damaged"));
  EXPECT_THAT(err_, HasSubstr("step-000000000300/server-0-a.safetensors"));
  EXPECT_THAT(out_, HasSubstr("step-000000000100: whole"));
  EXPECT_THAT(out_, Not(HasSubstr("200: whole")));
}

TEST_F(CheckpointCommandTest, VerifyOfNothingFails) {
  EXPECT_EQ(VerifyCheckpoints(folder_.File("none"), console_), kExitUsage);
  EXPECT_EQ(VerifyCheckpoints(folder_.path(), console_), kExitFailed);
  EXPECT_THAT(err_, HasSubstr("has no checkpoint"));
  const std::string unfinished = *MakeCheckpointPath(dir_, 100);
  EXPECT_EQ(VerifyCheckpoints(unfinished + "/", console_), kExitFailed);
  EXPECT_THAT(err_, HasSubstr("step-000000000100//manifest.json"));
}

TEST_F(CheckpointCommandTest, TakingOneNeedsARunAndATime) {
  std::filesystem::create_directory(run_);
  EXPECT_EQ(TakeCheckpoint(run_, "", "60s", console_), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("is not the folder of a run that has started"));
  EXPECT_EQ(TakeCheckpoint("", "", "60s", console_), kExitUsage);
  EXPECT_EQ(TakeCheckpoint(run_, "", "soon", console_), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("--timeout: `soon` is no time"));
}

}  // namespace
}  // namespace tessera::cli

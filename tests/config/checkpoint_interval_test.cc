#include "config/checkpoint_interval.h"

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/config/job_text.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;
using Unit = CheckpointSpec::Unit;

std::string JobWith(const std::string& checkpoint) {
  return SmallJobWith(absl::StrCat("checkpoint: ", checkpoint, "\n"));
}

CheckpointSpec Load(const std::string& checkpoint) {
  const auto job = LoadJobText(JobWith(checkpoint), "job.yaml", {});
  EXPECT_TRUE(job.ok()) << job.status();
  return job.ok() ? job->checkpoint : CheckpointSpec();
}

int64_t StepsOf(const std::string& every) {
  JobSpec job;
  job.checkpoint = Load(absl::StrCat("{ every: ", every, " }"));
  return CheckpointEverySteps(job, 234);
}

TEST(CheckpointInterval, DefaultIsAnEpochInTheRunsFolderAndThreeStay) {
  const auto job = LoadJobText(kSmallJob, "job.yaml", {});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->checkpoint.dir, "");
  EXPECT_EQ(job->checkpoint.keep, 3);
  EXPECT_EQ(CheckpointEverySteps(*job, 234), 234);
}

TEST(CheckpointInterval, IsReadAsEpochsStepsTimeOrNever) {
  const CheckpointSpec steps = Load("{ dir: runs/fashion-lenet, every: 100 steps, keep: 1 }");
  EXPECT_EQ(steps.dir, "runs/fashion-lenet");
  EXPECT_EQ(steps.unit, Unit::kSteps);
  EXPECT_EQ(steps.count, 100);
  EXPECT_EQ(steps.keep, 1);
  const CheckpointSpec time = Load("{ every: 90s }");
  EXPECT_EQ(time.unit, Unit::kTime);
  EXPECT_EQ(time.time, absl::Seconds(90));
  EXPECT_EQ(Load("{ every: never }").unit, Unit::kNever);
}

TEST(CheckpointInterval, InStepsIsThatOfEpochsAndSteps) {
  EXPECT_EQ(StepsOf("1 epoch"), 234);
  EXPECT_EQ(StepsOf("3 epochs"), 702);
  EXPECT_EQ(StepsOf("1 step"), 1);
  EXPECT_EQ(StepsOf("500 steps"), 500);
  EXPECT_EQ(StepsOf("30s"), 0);
  EXPECT_EQ(StepsOf("never"), 0);
}

TEST(CheckpointInterval, InStepsDoesNotOverflow) {
  JobSpec job;
  job.checkpoint.count = int64_t{1} << 40;
  EXPECT_EQ(CheckpointEverySteps(job, int64_t{1} << 40), std::numeric_limits<int64_t>::max());
}

TEST(CheckpointInterval, ComesBackFromTheCanonicalText) {
  for (const char* every : {"1 epoch", "2 epochs", "1 step", "17 steps", "1m30s", "500ms", "never"}) {
    const auto job = LoadJobText(JobWith(absl::StrCat("{ every: ", every, " }")), "job.yaml", {});
    ASSERT_TRUE(job.ok()) << job.status();
    EXPECT_THAT(FormatJob(*job), HasSubstr(absl::StrCat("every: ", every, "\n")));
    const auto again = LoadJobText(FormatJob(*job), "again.yaml", {});
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(FormatCheckpointInterval(again->checkpoint), every);
  }
}

TEST(CheckpointInterval, RefusesWhatIsNone) {
  for (const char* every : {"often", "3", "1.5 epochs", "-1 epochs", "1 epoch 2", "1 weeks", "[1 epoch]",
                            "''", "epoch", "99s99"}) {
    EXPECT_THAT(
        ErrorOf(JobWith(absl::StrCat("{ every: ", every, " }"))),
        HasSubstr("bad.yaml:7:22: `checkpoint.every` takes `1 epoch`, `100 steps`, a time as `30s`, or "
                  "`never`, found "))
        << every;
  }
  for (const char* every :
       {"0 epochs", "0 steps", "99999999999999999999 steps", "1ms", "-3s", "inf", "2000h"}) {
    EXPECT_THAT(ErrorOf(JobWith(absl::StrCat("{ every: ", every, " }"))),
                HasSubstr("it must be from 1 epoch"))
        << every;
  }
}

TEST(CheckpointInterval, SectionTakesItsOwnKeysAlone) {
  EXPECT_THAT(ErrorOf(JobWith("{ evry: 1 epoch }")), HasSubstr("did you mean `every`?"));
  EXPECT_THAT(ErrorOf(JobWith("{ keep: 0 }")), HasSubstr("`checkpoint.keep` is `0`, it must be from 1"));
  EXPECT_THAT(ErrorOf(JobWith("{ dir: '' }")), HasSubstr("`checkpoint.dir` is empty"));
}

}  // namespace
}  // namespace tessera

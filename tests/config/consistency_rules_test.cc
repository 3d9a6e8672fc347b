#include "config/consistency_rules.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/config/job_text.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int64_t kUnbounded = ConsistencySpec::kUnbounded;

// Four replicas on four workers; the consistency is line 8.
std::string JobWith(const std::string& consistency, const std::string& rest = "") {
  return absl::StrCat(kSmallJob, "  replicas: 4\n  consistency: { ", consistency, " }\n", rest,
                      "cluster: { workers: 4 }\n");
}

JobSpec Load(const std::string& text, const std::vector<Override>& overrides = {}) {
  const absl::StatusOr<JobSpec> job = LoadJobText(text, "job.yaml", overrides);
  EXPECT_TRUE(job.ok()) << job.status();
  return job.value_or(JobSpec());
}

std::string Error(const std::string& consistency, const std::vector<Override>& overrides = {}) {
  return ErrorOf(JobWith(consistency), overrides);
}

void ExpectRule(const JobSpec& job, const std::string& mode, int32_t group, int64_t staleness,
                bool deterministic) {
  EXPECT_EQ(job.train.consistency.mode, mode);
  EXPECT_EQ(job.train.consistency.group, group) << mode;
  EXPECT_EQ(job.train.consistency.staleness, staleness) << mode;
  EXPECT_EQ(job.train.deterministic, deterministic) << mode;
}

TEST(ConsistencyRules, ModesArePresetsOfGroupAndStaleness) {
  ExpectRule(Load(JobWith("")), "sync", 4, 0, true);
  ExpectRule(Load(JobWith("mode: sync")), "sync", 4, 0, true);
  ExpectRule(Load(JobWith("mode: async")), "async", 1, kUnbounded, false);
  ExpectRule(Load(JobWith("mode: ssp")), "ssp", 1, 3, false);
  ExpectRule(Load(JobWith("mode: ssp, staleness: 0")), "ssp", 1, 0, false);
  ExpectRule(Load(JobWith("mode: grouped, group: 2")), "grouped", 2, kUnbounded, false);
  ExpectRule(Load(JobWith("mode: grouped, group: 2, staleness: 5")), "grouped", 2, 5, false);
  ExpectRule(Load(JobWith("mode: sync, drop_stragglers: 1")), "sync", 4, 0, false);
}

TEST(ConsistencyRules, GroupOfSyncFollowsTheReplicasThatTheFilesWorkersGive) {
  const JobSpec job = Load(SmallJobWith("cluster: { workers: 6 }\n"), {{"cluster.workers", "2"}});
  ExpectRule(job, "sync", 6, 0, true);
}

TEST(ConsistencyRules, MixedIsWrittenBackAsGrouped) {
  const JobSpec job = Load(JobWith("mode: mixed, group: 2"));
  EXPECT_EQ(job.train.consistency.mode, "grouped");
  EXPECT_THAT(FormatJob(job), HasSubstr("mode: grouped, group: 2, staleness: unbounded"));
}

TEST(ConsistencyRules, WhatAModeStandsForMayBeSaid) {
  for (const char* consistency :
       {"group: 4, staleness: 0", "mode: async, group: 1, staleness: unbounded", "mode: ssp, group: 1",
        "mode: grouped, group: 4, staleness: unbounded", "mode: async, drop_stragglers: 0",
        "mode: sync, staleness_correction: none"}) {
    EXPECT_EQ(Error(consistency), "loaded") << consistency;
  }
}

TEST(ConsistencyRules, GroupedNeedsAGroupThatDividesTheReplicas) {
  EXPECT_EQ(
      Error("mode: grouped"),
      "bad.yaml:8:24: `train.consistency.group` is missing: with `mode: grouped` it says how many of the 4 "
      "replicas make one update: 1, 2, 4");
  EXPECT_EQ(Error("mode: grouped, group: 3"),
            "bad.yaml:8:40: `train.consistency.group` is 3, but it must divide the 4 replicas: 1, 2, 4");
  EXPECT_THAT(Error("mode: grouped, group: 8"), HasSubstr("is 8, but it must divide the 4 replicas"));
  EXPECT_EQ(Error("mode: grouped, group: 0"),
            "bad.yaml:8:40: `train.consistency.group` is `0`, it must be from 1 to 4096");
}

TEST(ConsistencyRules, GroupBelongsToGrouped) {
  EXPECT_EQ(
      Error("group: 2"),
      "bad.yaml:8:25: `train.consistency.group` is 2, but `sync` updates by all 4 replicas: leave it out, or "
      "take `mode: grouped`");
  EXPECT_EQ(Error("mode: async, group: 2"),
            "bad.yaml:8:38: `train.consistency.group` is 2, but in `async` every replica updates by itself: "
            "leave it "
            "out, or take `mode: grouped`");
  EXPECT_THAT(Error("mode: ssp, group: 4"), HasSubstr("is 4, but in `ssp` every replica updates by itself"));
}

TEST(ConsistencyRules, StalenessBelongsToSspAndGrouped) {
  EXPECT_EQ(Error("staleness: 3"),
            "bad.yaml:8:29: `train.consistency.staleness` is 3, but in `sync` no replica runs ahead: leave "
            "it out, or "
            "take `mode: ssp`");
  EXPECT_THAT(Error("staleness: unbounded"), HasSubstr("is unbounded, but in `sync` no replica runs ahead"));
  EXPECT_EQ(
      Error("mode: async, staleness: 3"),
      "bad.yaml:8:42: `train.consistency.staleness` is 3, but `async` has no bound: leave it out, or take "
      "`mode: ssp`");
  EXPECT_EQ(Error("mode: ssp, staleness: unbounded"),
            "bad.yaml:8:40: `train.consistency.staleness` is unbounded, but `ssp` has a bound: give a "
            "number, or take "
            "`mode: async`");
  EXPECT_EQ(Error("mode: ssp, staleness: -1"),
            "bad.yaml:8:40: `train.consistency.staleness` is `-1`, it must be from 0 to 1073741824");
  EXPECT_EQ(Error("mode: ssp, staleness: few"),
            "bad.yaml:8:40: `train.consistency.staleness` takes a whole number or `unbounded`, found `few`");
}

TEST(ConsistencyRules, OnlySyncDropsStragglersAndNeverAll) {
  for (const char* mode : {"async", "ssp", "grouped, group: 2"}) {
    EXPECT_THAT(Error(absl::StrCat("drop_stragglers: 1, mode: ", mode)),
                StartsWith("bad.yaml:8:35: `train.consistency.drop_stragglers` is 1, but only `sync` drops "
                           "stragglers: leave it out"));
  }
  EXPECT_EQ(Error("drop_stragglers: 3"), "loaded");
  EXPECT_EQ(
      Error("drop_stragglers: 4"),
      "bad.yaml:8:35: `train.consistency.drop_stragglers` is 4, but the job has 4 replicas, and a step needs "
      "one: it must be less");
  EXPECT_THAT(Error("drop_stragglers: -1"), HasSubstr("it must be from 0 to"));
}

// One worker's replicas are dropped together, so that less than a worker's share would drop nobody.
TEST(ConsistencyRules, DropsTakeAtLeastAWorkersReplicas) {
  EXPECT_EQ(Error("drop_stragglers: 1", {{"cluster.workers", "2"}}),
            "bad.yaml:8:35: `train.consistency.drop_stragglers` is 1, but a worker's replicas are dropped "
            "together, and "
            "of 2 workers one runs 2 of the 4: take at least 2, or more workers");
  EXPECT_EQ(Error("drop_stragglers: 2", {{"cluster.workers", "2"}}), "loaded");
  EXPECT_THAT(Error("drop_stragglers: 1", {{"cluster.workers", "3"}}),
              HasSubstr("of 3 workers one runs 2 of the 4"));
  EXPECT_THAT(Error("drop_stragglers: 3", {{"cluster.workers", "1"}}),
              HasSubstr("of 1 worker one runs 4 of the 4: take more workers"));
  EXPECT_EQ(Error("drop_stragglers: 1", {{"cluster.workers", "9"}}), "loaded");
}

TEST(ConsistencyRules, CorrectionsNeedStaleGradients) {
  EXPECT_EQ(Error("staleness_correction: scale"),
            "bad.yaml:8:40: `train.consistency.staleness_correction` is `scale`, but in `sync` no gradient "
            "is stale: "
            "leave it out, or take another mode");
  EXPECT_EQ(Error("mode: grouped, group: 2, staleness_correction: delay_compensated"),
            "bad.yaml:8:65: `train.consistency.staleness_correction` is `delay_compensated`, but it takes "
            "groups of 1, "
            "not of 2: take `scale`, or `mode: async` or `ssp`");
  EXPECT_EQ(Error("mode: grouped, group: 2, staleness_correction: scale"), "loaded");
  EXPECT_EQ(Error("mode: grouped, group: 1, staleness_correction: delay_compensated"), "loaded");
  EXPECT_THAT(Error("mode: async, staleness_correction: scall"), HasSubstr("did you mean `scale`?"));
}

TEST(ConsistencyRules, ScaleTakesThePlaceOfScalingByGroup) {
  EXPECT_EQ(Error("mode: async, staleness_correction: scale, lr_scaling: none"),
            "bad.yaml:8:72: `train.consistency.lr_scaling` is `none`, but `staleness_correction: scale` "
            "takes the place "
            "of the scaling by group: leave it out");
  EXPECT_EQ(Error("mode: async, staleness_correction: delay_compensated, lr_scaling: none"), "loaded");
}

TEST(ConsistencyRules, CompensationsKeysNeedCompensation) {
  EXPECT_EQ(Error("mode: async, dc_lambda: 0.1"),
            "bad.yaml:8:42: `train.consistency.dc_lambda` is `0.1`, but it is for `staleness_correction: "
            "delay_compensated`: leave it out, or take that");
  EXPECT_THAT(Error("mode: async, staleness_correction: scale, dc_adaptive: false"),
              HasSubstr("`train.consistency.dc_adaptive` is `false`, but it is for"));
  EXPECT_EQ(Error("mode: async, staleness_correction: delay_compensated, dc_lambda: 2, dc_adaptive: true"),
            "loaded");
}

TEST(ConsistencyRules, OnlySyncWithoutDropsCanBeDeterministic) {
  const auto error = [](const std::string& consistency, const std::string& value) {
    return ErrorOf(JobWith(consistency, absl::StrCat("  deterministic: ", value, "\n")));
  };
  EXPECT_EQ(
      error("mode: async", "true"),
      "bad.yaml:9:18: `train.deterministic` is true, but only `mode: sync` without `drop_stragglers` can be: "
      "leave it out, or set it to false");
  EXPECT_THAT(error("drop_stragglers: 1", "true"), HasSubstr("`train.deterministic` is true, but"));
  EXPECT_EQ(error("mode: async", "false"), "loaded");
  EXPECT_FALSE(Load(JobWith("mode: sync", "  deterministic: false\n")).train.deterministic);
}

TEST(ConsistencyRules, ModeIsAllThatACommandLineChanges) {
  const std::string sync = JobWith("mode: sync", "  deterministic: true\n");
  ExpectRule(Load(sync, {{"train.consistency.mode", "async"}}), "async", 1, kUnbounded, false);
  ExpectRule(Load(sync, {{"train.consistency.mode", "ssp"}}), "ssp", 1, 3, false);
  ExpectRule(Load(sync, {{"train.consistency.mode", "mixed"}, {"train.consistency.group", "2"}}), "grouped",
             2, kUnbounded, false);
  ExpectRule(Load(kSmallJob, {{"train.consistency.mode", "async"}}), "async", 1, kUnbounded, false);
}

// Stale gradients under momentum diverge at rates that sync bears (docs/adr/0007).
TEST(ConsistencyRules, ModesWithStaleGradientsClipThemUnlessTheFileSaysOtherwise) {
  const auto norm = [](const std::string& text, const std::vector<Override>& overrides = {}) {
    return Load(text, overrides).train.clip_norm;
  };
  const std::vector<Override> async = {{"train.consistency.mode", "async"}};
  const std::vector<Override> sync = {{"train.consistency.mode", "sync"}};
  EXPECT_EQ(norm(JobWith("mode: sync")), 0);
  for (const char* mode : {"mode: async", "mode: ssp", "mode: grouped, group: 2"}) EXPECT_EQ(norm(JobWith(mode)), 1);
  EXPECT_EQ(norm(JobWith("mode: sync"), async), 1);
  EXPECT_EQ(norm(JobWith("mode: sync", "  clip_norm: 5\n")), 5);
  EXPECT_EQ(norm(JobWith("mode: sync", "  clip_norm: 5\n"), async), 5);
  EXPECT_EQ(norm(JobWith("mode: async", "  clip_norm: 0\n")), 0);
  EXPECT_EQ(norm(JobWith("mode: async", "  clip_norm: 0\n"), {{"train.consistency.mode", "ssp"}}), 0);
  EXPECT_EQ(norm(JobWith("mode: sync"), {async[0], {"train.clip_norm", "0"}}), 0);
  // A job written out says what its mode stands for; that does not follow it into another.
  EXPECT_EQ(norm(FormatJob(Load(JobWith("mode: sync"))), async), 1);
  EXPECT_EQ(norm(FormatJob(Load(JobWith("mode: async"))), sync), 0);
}

TEST(ConsistencyRules, AnotherModeLeavesWhatBelongsToTheFilesOwn) {
  const std::string grouped = JobWith("mode: grouped, group: 2, staleness: 5");
  ExpectRule(Load(grouped, {{"train.consistency.mode", "sync"}}), "sync", 4, 0, true);
  ExpectRule(Load(grouped, {{"train.consistency.mode", "async"}}), "async", 1, kUnbounded, false);
  ExpectRule(Load(grouped, {{"train.consistency.mode", "ssp"}}), "ssp", 1, 3, false);
  ExpectRule(Load(grouped, {{"train.consistency", "{ mode: async }"}}), "async", 1, kUnbounded, false);
  EXPECT_EQ(Load(JobWith("drop_stragglers: 1"), {{"train.consistency.mode", "ssp"}})
                .train.consistency.drop_stragglers,
            0);
  // Not where it is the same mode, by whatever name.
  ExpectRule(Load(grouped, {{"train.consistency.mode", "mixed"}}), "grouped", 2, 5, false);
}

// As `tessera config show` prints it: everything is said.
TEST(ConsistencyRules, AJobWrittenOutChangesItsModeToo) {
  const std::string written =
      FormatJob(Load(JobWith("mode: async, staleness_correction: delay_compensated")));
  for (const char* mode : {"sync", "ssp"})
    EXPECT_EQ(ErrorOf(written, {{"train.consistency.mode", mode}}), "loaded");
  EXPECT_EQ(ErrorOf(written, {{"train.consistency.mode", "grouped"}, {"train.consistency.group", "2"}}),
            "loaded");
  EXPECT_THAT(ErrorOf(FormatJob(Load(JobWith(""))), {{"train.consistency.mode", "grouped"}}),
              HasSubstr("`train.consistency.group` is missing"));
}

TEST(ConsistencyRules, CorrectionsStayInModesThatTakeThem) {
  const auto correction = [](const char* consistency, const char* mode) {
    return Load(JobWith(consistency), {{"train.consistency.mode", mode}, {"train.consistency.group", "4"}})
        .train.consistency.staleness_correction;
  };
  const std::string compensated =
      JobWith("mode: async, staleness_correction: delay_compensated, dc_lambda: 2");
  const JobSpec ssp = Load(compensated, {{"train.consistency.mode", "ssp"}});
  EXPECT_EQ(ssp.train.consistency.staleness_correction, "delay_compensated");
  EXPECT_EQ(ssp.train.consistency.dc_lambda, 2);
  EXPECT_EQ(correction("mode: async, staleness_correction: scale", "grouped"), "scale");
  EXPECT_EQ(correction("mode: async, staleness_correction: scale", "sync"), "none");
  EXPECT_EQ(correction("mode: async, staleness_correction: delay_compensated, dc_lambda: 2", "grouped"),
            "none");
}

TEST(ConsistencyRules, WhatTheCommandLineSaysBesideTheModeIsNeverLeft) {
  EXPECT_EQ(Error("mode: sync", {{"train.consistency.mode", "async"}, {"train.consistency.group", "2"}}),
            "--set train.consistency.group: `train.consistency.group` is 2, but in `async` every replica "
            "updates by "
            "itself: leave it out, or take `mode: grouped`");
  EXPECT_THAT(Error("mode: sync", {{"train.consistency.mode", "async"}, {"train.deterministic", "true"}}),
              StartsWith("--set train.deterministic: "));
  EXPECT_THAT(Error("mode: sync", {{"train.consistency.mode", "grouped"}}),
              StartsWith("--set train.consistency.mode: `train.consistency.group` is missing"));
}

TEST(ConsistencyRules, FileWithoutAChangeOfModeIsReadStrictly) {
  EXPECT_THAT(Error("mode: sync, group: 2", {{"train.consistency.mode", "sync"}}),
              HasSubstr("is 2, but `sync`"));
  EXPECT_THAT(Error("mode: sync, group: 2", {{"train.epochs", "1"}}), StartsWith("bad.yaml:8:37"));
}

}  // namespace
}  // namespace tessera

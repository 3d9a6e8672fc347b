#include "coordinator/run_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

namespace tessera {
namespace {

using nlohmann::json;

TEST(RunSummary, HasTheFieldsOfTheDesign) {
  const json summary = json::parse(FormatSummary({.job = "j", .status = "done"}));
  for (const char* key : {"test_accuracy",
                          "test_loss",
                          "train_loss",
                          "epochs",
                          "steps",
                          "updates_per_shard",
                          "images_per_second",
                          "wall_seconds",
                          "mode",
                          "replicas",
                          "workers",
                          "servers",
                          "weights_digest",
                          "pushed_bytes",
                          "pulled_bytes",
                          "shared_memory_bytes",
                          "staleness",
                          "applied_minibatches",
                          "dropped",
                          "dropped_over_shards",
                          "replica_images_per_second",
                          "resumed_from_step",
                          "recomputed_steps",
                          "events",
                          "history",
                          "job",
                          "seed",
                          "status",
                          "message"}) {
    EXPECT_TRUE(summary.contains(key)) << key;
  }
  for (const char* key : {"mean", "p50", "p99", "max", "bound", "clock_lead"}) {
    EXPECT_EQ(summary["staleness"][key], 0) << key;
  }
  EXPECT_TRUE(summary["applied_minibatches"].is_null());
  EXPECT_TRUE(summary["test_accuracy"].is_null());
  EXPECT_TRUE(summary["train_loss"].is_null());
  EXPECT_TRUE(summary["weights_digest"].is_null());
  EXPECT_TRUE(summary["resumed_from_step"].is_null());
}

TEST(RunSummary, ReportsTheLastEpochAndAllOfThem) {
  RunSummary summary{.seed = 18446744073709551615u};
  summary.history = {{1, 2.0, 0.25, EvaluationSummary{1.5, 0.5}},
                     {2, 1.0, 0.75, EvaluationSummary{0.5, 0.875}}};
  const json parsed = json::parse(FormatSummary(summary));
  EXPECT_EQ(parsed["test_accuracy"], 0.875);
  EXPECT_EQ(parsed["test_loss"], 0.5);
  EXPECT_EQ(parsed["train_loss"], 1.0);
  EXPECT_EQ(parsed["epochs"], 2);
  EXPECT_EQ(parsed["history"].size(), 2u);
  EXPECT_EQ(parsed["history"][0]["train_accuracy"], 0.25);
  EXPECT_EQ(parsed["seed"], 18446744073709551615u);
}

TEST(RunSummary, WritesNullForALossThatIsNotFinite) {
  RunSummary summary;
  summary.history = {{1, std::numeric_limits<double>::quiet_NaN(), 0.0, std::nullopt}};
  EXPECT_TRUE(json::parse(FormatSummary(summary))["train_loss"].is_null());
}

TEST(RunSummary, TellsOfStalenessAndOfWhatWasApplied) {
  RunSummary summary{.counters = {.staleness_pushes = 4,
                                  .staleness_sum = 6,
                                  .staleness_max = 3,
                                  .staleness_histogram = {1, 1, 1, 1},
                                  .clock_lead_max = 2,
                                  .applied_min = {8, 7},
                                  .applied_max = {8, 9},
                                  .dropped = 12},
                     .staleness_bound = 21,
                     .dropped = 5,
                     .replica_images_per_second = {10.5, 2}};
  const json parsed = json::parse(FormatSummary(summary));
  EXPECT_EQ(parsed["staleness"],
            json({{"mean", 1.5}, {"p50", 1}, {"p99", 3}, {"max", 3}, {"bound", 21}, {"clock_lead", 2}}));
  EXPECT_EQ(parsed["applied_minibatches"], json({{"min", 7}, {"max", 9}}));
  EXPECT_EQ(parsed["dropped"], 5);
  EXPECT_EQ(parsed["dropped_over_shards"], 12);
  EXPECT_EQ(parsed["replica_images_per_second"], json({10.5, 2}));
}

TEST(RunSummary, WritesNullForABoundThatThereIsNotAndForUnknownQuantiles) {
  const RunSummary summary{.counters = {.staleness_pushes = 2, .staleness_sum = 3, .staleness_max = 2},
                           .staleness_bound = -1};
  const json staleness = json::parse(FormatSummary(summary))["staleness"];
  EXPECT_TRUE(staleness["bound"].is_null());
  EXPECT_TRUE(staleness["p50"].is_null());
  EXPECT_EQ(staleness["mean"], 1.5);
}

TEST(RunSummary, SurvivesTextThatIsNotUtf8) {
  RunSummary summary{.message = "\xff\xfe \"quoted\""};
  summary.events = {{"failure", "worker 0", "\xc3", absl::FromUnixMillis(1234), 7}};
  const json parsed = json::parse(FormatSummary(summary));
  EXPECT_EQ(parsed["events"][0]["when"], "1970-01-01T00:00:01.234Z");
  EXPECT_EQ(parsed["events"][0]["pid"], 7);
}

TEST(TransferCounters, AddUpAndGiveQuantiles) {
  TransferCounters counters{.staleness_pushes = 98, .staleness_max = 1, .staleness_histogram = {97, 1}};
  counters.Add(
      {.pushed_bytes = 5, .staleness_pushes = 2, .staleness_max = 3, .staleness_histogram = {0, 0, 1, 1}});
  EXPECT_THAT(counters.staleness_histogram, testing::ElementsAre(97, 1, 1, 1));
  EXPECT_EQ(counters.pushed_bytes, 5);
  EXPECT_EQ(counters.staleness_max, 3);
  EXPECT_EQ(counters.StalenessQuantile(0.5), 0);
  EXPECT_EQ(counters.StalenessQuantile(0.99), 2);
  EXPECT_EQ(counters.StalenessQuantile(1.0), 3);
  EXPECT_EQ(TransferCounters().StalenessQuantile(0.5), 0);
  EXPECT_EQ(TransferCounters().StalenessMean(), 0);
}

TEST(TransferCounters, WhatCannotBeDoesNotOverflow) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  TransferCounters counters{.staleness_pushes = kMost, .staleness_sum = 1, .staleness_histogram = {kMost}};
  counters.Add({.staleness_pushes = 7, .staleness_sum = kMost, .staleness_histogram = {1}, .dropped = 2});
  EXPECT_EQ(counters.staleness_pushes, kMost);
  EXPECT_EQ(counters.staleness_sum, kMost);
  EXPECT_THAT(counters.staleness_histogram, testing::ElementsAre(kMost));
  EXPECT_EQ(counters.dropped, 2);
}

TEST(TransferCounters, TakeTheExtremesOverServersThatHoldShards) {
  TransferCounters counters;
  counters.Add({.clock_lead_max = 3, .applied_min = {5, 6}, .applied_max = {5, 9}, .dropped = 1});
  counters.Add({});  // a server without shards knows nothing
  counters.Add({.clock_lead_max = 1, .applied_min = {6, 4}, .applied_max = {6, 8}, .dropped = 2});
  EXPECT_EQ(counters.clock_lead_max, 3);
  EXPECT_THAT(counters.applied_min, testing::ElementsAre(5, 4));
  EXPECT_THAT(counters.applied_max, testing::ElementsAre(6, 9));
  EXPECT_EQ(counters.dropped, 3);
}

}  // namespace
}  // namespace tessera

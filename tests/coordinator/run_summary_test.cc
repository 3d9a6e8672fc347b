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
                          "staleness",
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
}

}  // namespace
}  // namespace tessera

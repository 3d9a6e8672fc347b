#include "cli/chaos_plan.h"

#include "gmock/gmock.h"

namespace tessera::cli {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr ChaosCluster kCluster = {.servers = 2, .workers = 3};
constexpr char kPlan[] =
    "kill server:1 @step 40; stop worker:0 @step 60 for 5s; kill coordinator @step 80; "
    "restart server:1 @step 90; drop 2%; slow worker:1 4x";

std::string ErrorOf(absl::string_view text) {
  const absl::StatusOr<ChaosPlan> plan = ParseChaosPlan(text, "--chaos", kCluster);
  if (plan.ok()) return "no error";
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(plan.status().message());
}

TEST(ChaosPlan, ReadsTheExampleOfTheDesign) {
  const absl::StatusOr<ChaosPlan> plan = ParseChaosPlan(kPlan, "--chaos", kCluster);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->faults.size(), 4u);
  EXPECT_EQ(plan->faults[0].kind, ChaosFault::Kind::kKill);
  EXPECT_EQ(plan->faults[0].place, (Place{PlaceKind::kServer, 1}));
  EXPECT_EQ(plan->faults[0].step, 40);
  EXPECT_EQ(plan->faults[1].kind, ChaosFault::Kind::kStop);
  EXPECT_EQ(plan->faults[1].place, (Place{PlaceKind::kWorker, 0}));
  EXPECT_EQ(plan->faults[1].pause, absl::Seconds(5));
  EXPECT_EQ(plan->faults[2].place, Place{});
  EXPECT_EQ(plan->faults[3].kind, ChaosFault::Kind::kRestart);
  EXPECT_EQ(plan->drop_percent, 2);
  EXPECT_EQ(plan->cut_percent, 0);
  ASSERT_EQ(plan->slowdowns.size(), 1u);
  EXPECT_EQ(plan->slowdowns[0].worker, 1);
  EXPECT_EQ(plan->slowdowns[0].factor, 4);
}

TEST(ChaosPlan, FormattedPlanIsTheSamePlan) {
  const std::string text =
      "kill server:1 @step 40; stop worker:0 @step 60 for 1.5s; restart coordinator @step 0; drop 0.5%; cut "
      "1%; "
      "slow worker:2 1.5x";
  const absl::StatusOr<ChaosPlan> plan = ParseChaosPlan(text, "--chaos", kCluster);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(FormatChaosPlan(*plan), text);
}

TEST(ChaosPlan, SpaceCommentsAndEmptyStatementsMeanNothing) {
  const absl::StatusOr<ChaosPlan> plan =
      ParseChaosPlan("# first\n;;kill\tserver:0\n @step 3;# second; kill\n\n drop 1% ;", "plan", kCluster);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(FormatChaosPlan(*plan), "kill server:0 @step 3; drop 1%");
}

TEST(ChaosPlan, ErrorsSayWhereAndTheNearestWord) {
  EXPECT_EQ(ErrorOf("kil server:1 @step 40"), "--chaos:1:1: unknown fault `kil`; did you mean `kill`?");
  EXPECT_EQ(ErrorOf("drop 2%;\n kill sever:1 @step 40"),
            "--chaos:2:7: unknown node `sever:1`; did you mean `server:1`?");
  EXPECT_EQ(ErrorOf("kill server:2 @step 40"), "--chaos:1:6: no `server:2`: the last of 2 is server:1");
  EXPECT_THAT(ErrorOf("kill xyz @step 40"),
              HasSubstr("unknown node `xyz`; there are coordinator, server:0, server:1, worker:0"));
}

TEST(ChaosPlan, WhatIsMissingIsSaidWhereItShouldBe) {
  EXPECT_THAT(ErrorOf(""), StartsWith("--chaos:1:1: the plan is empty"));
  EXPECT_THAT(ErrorOf(" ; # kill"), HasSubstr("the plan is empty"));
  EXPECT_THAT(ErrorOf("kill"), StartsWith("--chaos:1:5: expected a node"));
  EXPECT_THAT(ErrorOf("kill ; drop 2%"), StartsWith("--chaos:1:6: expected a node"));
  EXPECT_THAT(ErrorOf("kill server:0"), StartsWith("--chaos:1:14: expected `@step`"));
  EXPECT_THAT(ErrorOf("kill server:0 @step"), StartsWith("--chaos:1:20: expected a step"));
  EXPECT_THAT(ErrorOf("kill server:0 @step x"), HasSubstr("expected a step, as in `@step 40`, not `x`"));
  EXPECT_THAT(ErrorOf("kill server:0 @step -1"), HasSubstr("expected a step"));
  EXPECT_THAT(ErrorOf("stop server:0 @step 1"), HasSubstr("expected `for`"));
  EXPECT_THAT(ErrorOf("stop server:0 @step 1 for"), HasSubstr("expected a time"));
}

TEST(ChaosPlan, StatementEndsWhereItEnds) {
  EXPECT_EQ(ErrorOf("kill server:0 @step 4 for 5s"), "--chaos:1:23: expected `;`, not `for`");
  EXPECT_EQ(ErrorOf("drop 2% cut 1%"), "--chaos:1:9: expected `;`, not `cut`");
}

TEST(ChaosPlan, ValuesOutOfRangeAreRefused) {
  for (const char* text : {"drop 0%", "drop -1%", "drop 51%", "drop nan%", "drop 2", "cut %", "cut x%"}) {
    EXPECT_THAT(ErrorOf(text), HasSubstr("expected a share above 0 % and up to 50 %")) << text;
  }
  for (const char* text : {"slow worker:0 0.5x", "slow worker:0 4", "slow worker:0 x", "slow worker:0 nanx",
                           "slow worker:0 1001x", "slow worker:0"}) {
    EXPECT_THAT(ErrorOf(text), HasSubstr("expected a factor")) << text;
  }
  EXPECT_THAT(ErrorOf("slow server:0 4x"), HasSubstr("expected a worker"));
  for (const char* pause : {"0s", "5", "-1s", "2h", "inf", "soon"}) {
    EXPECT_THAT(ErrorOf(std::string("stop server:0 @step 1 for ") + pause), HasSubstr("expected a time"));
  }
}

TEST(ChaosPlan, SameThingTwiceIsRefused) {
  EXPECT_EQ(ErrorOf("drop 1%; drop 2%"), "--chaos:1:10: `drop` is given twice");
  EXPECT_EQ(ErrorOf("slow worker:1 2x; slow worker:1 4x"), "--chaos:1:24: `worker:1` is slowed down twice");
}

}  // namespace
}  // namespace tessera::cli

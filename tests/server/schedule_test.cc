#include "server/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr ScheduleContext kRun{.total_steps = 200, .steps_per_epoch = 50};

std::unique_ptr<Schedule> Make(const std::string& name, Options options = {}) {
  auto schedule = CreateSchedule(name, std::move(options), kRun);
  EXPECT_TRUE(schedule.ok()) << schedule.status();
  return *std::move(schedule);
}

OptionValue List(std::vector<std::string> texts) { return {std::move(texts), "job.yaml:9:3"}; }

std::unique_ptr<Schedule> MakeMultistep(std::vector<std::string> milestones, Options options = {}) {
  options.Set("milestones", List(std::move(milestones)));
  return Make("multistep", std::move(options));
}

// The options without which a schedule can not be.
Options Required(const std::string& name) {
  if (name == "step") return {{"every", "30 steps"}};
  if (name == "multistep") return {{"milestones", "2 epochs"}};
  return {};
}

absl::Status Refusal(const std::string& name, Options options, const ScheduleContext& context = kRun) {
  return CreateSchedule(name, std::move(options), context).status();
}

TEST(Schedule, CosineFollowsHalfAWave) {
  const auto cosine = Make("cosine");
  EXPECT_EQ(cosine->Factor(0), 1);
  EXPECT_NEAR(cosine->Factor(50), (1 + std::sqrt(0.5)) / 2, 1e-15);
  EXPECT_NEAR(cosine->Factor(200.0 / 3), 0.75, 1e-15);
  EXPECT_NEAR(cosine->Factor(100), 0.5, 1e-15);
  EXPECT_NEAR(cosine->Factor(400.0 / 3), 0.25, 1e-15);
  EXPECT_EQ(cosine->Factor(200), 0);
  EXPECT_EQ(cosine->Factor(1000), 0);
}

TEST(Schedule, ConstantStaysConstant) {
  const auto constant = Make("constant");
  for (const double progress : {0.0, 0.5, 100.0, 1e9}) EXPECT_EQ(constant->Factor(progress), 1);
}

TEST(Schedule, StepFallsAtEqualDistances) {
  const auto in_epochs = Make("step", {{"every", "1 epoch"}, {"gamma", "0.5"}});
  const auto in_steps = Make("step", {{"every", "50 steps"}, {"gamma", "0.5"}});
  for (double progress = 0; progress < 400; progress += 0.25) {
    ASSERT_EQ(in_epochs->Factor(progress), std::pow(0.5, std::floor(progress / 50))) << progress;
    ASSERT_EQ(in_steps->Factor(progress), in_epochs->Factor(progress)) << progress;
  }
  EXPECT_EQ(in_epochs->Factor(std::nextafter(50, 0)), 1);
  EXPECT_EQ(in_epochs->Factor(50), 0.5);
  EXPECT_EQ(in_epochs->Factor(std::nextafter(150, 0)), 0.25);
  EXPECT_EQ(in_epochs->Factor(150), 0.125);
}

TEST(Schedule, StepFallsToATenthUnlessToldOtherwise) {
  const auto step = Make("step", {{"every", "0.5 epochs"}});
  EXPECT_EQ(step->Factor(24), 1);
  EXPECT_EQ(step->Factor(25), 0.1);
  EXPECT_NEAR(step->Factor(199), 1e-7, 1e-20);
}

TEST(Schedule, StepHitsFractionalBoundariesAtTheFirstStepBehindThem) {
  const auto step = Make("step", {{"every", "7.5 steps"}, {"gamma", "0.5"}});
  EXPECT_EQ(step->Factor(7), 1);
  EXPECT_EQ(step->Factor(7.5), 0.5);
  EXPECT_EQ(step->Factor(8), 0.5);
  EXPECT_EQ(step->Factor(15), 0.25);
}

TEST(Schedule, MultistepFallsAtItsMilestones) {
  const auto multistep = MakeMultistep({"1 epoch", "60 steps", "2.5 epochs"}, {{"gamma", "0.5"}});
  const std::vector<double> milestones = {50, 60, 125};
  for (double progress = 0; progress < 300; progress += 0.25) {
    double expected = 1;
    for (const double milestone : milestones) expected *= progress >= milestone ? 0.5 : 1;
    ASSERT_EQ(multistep->Factor(progress), expected) << progress;
  }
  for (const double milestone : milestones) {
    EXPECT_EQ(multistep->Factor(milestone), multistep->Factor(std::nextafter(milestone, 0)) / 2);
  }
}

TEST(Schedule, MultistepTakesASingleMilestoneWithoutAList) {
  const auto multistep = Make("multistep", {{"milestones", "2 epochs"}});
  EXPECT_EQ(multistep->Factor(99), 1);
  EXPECT_EQ(multistep->Factor(100), 0.1);
  EXPECT_EQ(multistep->Factor(1e9), 0.1);
}

TEST(Schedule, PolynomialFollowsItsFormula) {
  for (const char* power : {"0.5", "0.9", "1", "2", "2.5", "7"}) {
    for (const char* end : {"0", "0.01", "0.5", "1"}) {
      const auto polynomial = Make("polynomial", {{"power", power}, {"end_factor", end}});
      const double floor = std::atof(end);
      EXPECT_EQ(polynomial->Factor(0), 1) << power << " " << end;
      for (double progress = 0; progress <= 200; progress += 0.25) {
        const double expected = floor + (1 - floor) * std::pow(1 - progress / 200, std::atof(power));
        ASSERT_NEAR(polynomial->Factor(progress), expected, 1e-14) << power << " " << end << " " << progress;
      }
      EXPECT_EQ(polynomial->Factor(200), floor);
      EXPECT_EQ(polynomial->Factor(1000), floor);
    }
  }
}

TEST(Schedule, PolynomialIsAStraightLineToZeroByDefault) {
  const auto polynomial = Make("polynomial");
  EXPECT_EQ(polynomial->Factor(50), 0.75);
  EXPECT_EQ(polynomial->Factor(100), 0.5);
  EXPECT_EQ(polynomial->Factor(150), 0.25);
}

TEST(Schedule, WarmupInStepsRampsFromTheFirstStep) {
  const auto warm = Make("constant", {{"warmup", "4 steps"}});
  EXPECT_EQ(warm->Factor(0), 0.25);
  EXPECT_EQ(warm->Factor(0.5), 0.375);
  EXPECT_EQ(warm->Factor(2), 0.75);
  EXPECT_EQ(warm->Factor(3), 1);
  EXPECT_EQ(warm->Factor(100), 1);
}

TEST(Schedule, WarmupInEpochsCountsTheirSteps) {
  const auto in_epochs = Make("constant", {{"warmup", "2 epochs"}});
  const auto in_steps = Make("constant", {{"warmup", "100 steps"}});
  const auto half = Make("constant", {{"warmup", "0.5 epoch"}});
  for (double progress = 0; progress < 120; progress += 7) {
    EXPECT_EQ(in_epochs->Factor(progress), in_steps->Factor(progress));
  }
  EXPECT_EQ(half->Factor(4), 0.2);
}

TEST(Schedule, WarmupMultipliesTheScheduleOfTheWholeRun) {
  const auto warm = Make("cosine", {{"warmup", "100 steps"}});
  const auto cosine = Make("cosine");
  EXPECT_EQ(warm->Factor(49), cosine->Factor(49) * 0.5);
  EXPECT_EQ(warm->Factor(150), cosine->Factor(150));
}

TEST(Schedule, WarmupOfNothingIsNone) {
  EXPECT_EQ(Make("constant", {{"warmup", "0 steps"}})->Factor(0), 1);
  EXPECT_EQ(Make("constant", {{"warmup", "1 step"}})->Factor(0), 1);
}

// Every registered schedule, without being told.
TEST(Schedule, EveryScheduleStaysBetweenZeroAndOneAndNeverRises) {
  for (const std::string& name : ScheduleRegistry::Names()) {
    const auto schedule = Make(name, Required(name));
    for (double progress = 0; progress < 300; progress += 0.25) {
      const double factor = schedule->Factor(progress);
      ASSERT_GE(factor, 0) << name << " at " << progress;
      ASSERT_LE(factor, 1) << name << " at " << progress;
      ASSERT_GE(factor, schedule->Factor(progress + 0.25)) << name << " at " << progress;
    }
  }
}

TEST(Schedule, WarmupMultipliesEverySchedule) {
  for (const std::string& name : ScheduleRegistry::Names()) {
    const auto plain = Make(name, Required(name));
    Options options = Required(name);
    options.Set("warmup", {"80 steps", ""});
    const auto warm = Make(name, options);
    for (double progress = 0; progress < 300; progress += 0.25) {
      const double ramp = std::min(1.0, (progress + 1) / 80);
      ASSERT_EQ(warm->Factor(progress), plain->Factor(progress) * ramp) << name << " at " << progress;
    }
  }
}

TEST(Schedule, RefusesAWarmupThatIsNone) {
  for (const std::string text :
       {"100", "100 parsecs", "steps", "-1 steps", "nan steps", "1e308 epochs", "1 2 steps", ""}) {
    const absl::Status status = Refusal("constant", {{"warmup", text}});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("warmup"), HasSubstr("`" + text + "`")));
  }
}

TEST(Schedule, NamesTheNearestScheduleOrOption) {
  EXPECT_THAT(std::string(Refusal("cosin", {}).message()), HasSubstr("did you mean `cosine`?"));
  EXPECT_THAT(std::string(Refusal("cosine", {{"warmpu", "1 epoch"}}).message()),
              HasSubstr("did you mean `warmup`?"));
}

TEST(Schedule, WhatEndsWithTheRunNeedsOne) {
  for (const std::string name : {"cosine", "polynomial"}) {
    const absl::Status status = Refusal(name, {}, {.total_steps = 0, .steps_per_epoch = 0});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("`" + name + "` needs a run"));
  }
}

TEST(Schedule, RefusalsNameTheKeyAndWhatIsWrongWithIt) {
  const auto message = [](const std::string& name, const Options& options) {
    const absl::Status status = Refusal(name, options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(message("step", {}), "missing `every`");
  EXPECT_THAT(message("step", {{"every", "10"}}), HasSubstr("`every` must be a number of steps or epochs"));
  EXPECT_THAT(message("step", {{"every", "0 epochs"}}), HasSubstr("`every` must be at least 1 step, not 0"));
  EXPECT_THAT(message("step", {{"every", "0.01 epochs"}}), HasSubstr("at least 1 step, not 0.5"));
  EXPECT_THAT(message("step", {{"every", "1 epoch"}, {"gamma", "0"}}), HasSubstr("`gamma` must be above 0"));
  EXPECT_THAT(message("step", {{"every", "1 epoch"}, {"gamma", "2"}}), HasSubstr("`gamma` must be a number"));
  EXPECT_THAT(message("multistep", {}), HasSubstr("`milestones` must name at least one"));
  EXPECT_THAT(message("multistep", {{"milestones", "5"}}),
              HasSubstr("`milestones` must be a number of steps"));
  EXPECT_THAT(message("polynomial", {{"power", "0"}}), HasSubstr("`power` must be above 0"));
  EXPECT_THAT(message("polynomial", {{"power", "linear"}}), HasSubstr("`power` must be a number"));
  EXPECT_THAT(message("polynomial", {{"end_factor", "1.5"}}),
              HasSubstr("`end_factor` must be a number from 0 to 1"));
  EXPECT_THAT(message("polynomial", {{"gamma", "0.1"}}), HasSubstr("unknown option `gamma`"));
}

TEST(Schedule, MilestonesMustRise) {
  const std::map<std::string, std::vector<std::string>> bad = {
      {"`3 epochs`", {"5 epochs", "3 epochs"}},
      {"`50 steps`", {"1 epoch", "50 steps"}},  // the same place
      {"`0 steps`", {"0 steps", "1 epoch"}},
      {"`soon`", {"1 epoch", "soon"}},
  };
  for (const auto& [text, milestones] : bad) {
    Options options;
    options.Set("milestones", List(milestones));
    const absl::Status status = Refusal("multistep", options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                AllOf(testing::StartsWith("job.yaml:9:3: `milestones` must"), HasSubstr(text)));
  }
}

}  // namespace
}  // namespace tessera

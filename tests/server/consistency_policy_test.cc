// Event scripts that read as a story, one event a line:
//   push 0..1 @3 -> hold        hold | apply N | duplicate | applied | dropped | refused CODE
//   read 2 @4    -> yes         yes | no | refused CODE
//   clock 0 -> 3                the open round of group 0
//   replica 2 -> 3              the clock after the last push of replica 2 that counted
//   covered 0 -> 2              replicas in the open round of group 0
//   dropped -> 1
//   settled @2   -> yes         has every group applied every round before clock 2?
//   lead 0 -> 1                 clocks that the last round of group 0 was ahead of the slowest group
//   applied 2 -> 3              minibatches of replica 2 that counted
//   units 0 1..2 -> ok          replicas 0, and 1 and 2, are the workers' now; ok | refused CODE
//   restart -> ok               the policy is made again from its snapshot
//   round 0 @3 0..1 3 -> ok     group 0 closes round 3 with replicas 0, 1 and 3, as another has; ok | refused
//   CODE forget -> ok                what is held of open rounds
// "apply N" says how many replicas the round counted. Each round that a push closes is told to a second
// policy, which must remember the same.
#include "server/consistency_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace tessera {
namespace {

using Action = ConsistencyPolicy::Action;

ConsistencyPolicy Make(const ConsistencyOptions& options) {
  auto policy = ConsistencyPolicy::Create(options);
  EXPECT_TRUE(policy.ok()) << policy.status();
  return *std::move(policy);
}

int64_t Integer(absl::string_view text) {
  int64_t value = 0;
  EXPECT_TRUE(absl::SimpleAtoi(text, &value)) << "`" << text << "` is no number";
  return value;
}

ReplicaRange Range(absl::string_view text) {
  const std::pair<std::string, std::string> ends = absl::StrSplit(text, absl::MaxSplits("..", 1));
  const auto first = static_cast<ReplicaId>(Integer(ends.first));
  return {first, ends.second.empty() ? first : static_cast<ReplicaId>(Integer(ends.second))};
}

std::string Refusal(const absl::Status& status) {
  return absl::StrCat("refused ", absl::StatusCodeToString(status.code()));
}

// Every push of every script is looked at first, which must tell what comes and change nothing.
std::string Push(ConsistencyPolicy& policy, ReplicaRange range, Clock clock) {
  const absl::StatusOr<Action> peeked = policy.Peek(range, clock);
  const absl::StatusOr<Action> action = policy.OnPush(range, clock);
  EXPECT_EQ(peeked.status(), action.status());
  if (!action.ok()) return Refusal(action.status());
  EXPECT_EQ(peeked.value(), *action == Action::kApplyRound ? Action::kHold : *action);
  if (*action == Action::kAlreadyApplied) return "applied";
  if (*action != Action::kApplyRound) return std::string(ToString(*action));
  return absl::StrCat("apply ", policy.LastRoundSize(policy.GroupOf(range.first)));
}

std::string Read(const ConsistencyPolicy& policy, ReplicaId replica, Clock clock) {
  const absl::StatusOr<bool> may_read = policy.MayRead(replica, clock);
  if (!may_read.ok()) return Refusal(may_read.status());
  return *may_read ? "yes" : "no";
}

std::string SetUnits(ConsistencyPolicy& policy, const std::vector<std::string>& words) {
  std::vector<ReplicaRange> units;
  for (size_t i = 1; i < words.size(); ++i) units.push_back(Range(words[i]));
  const absl::Status status = policy.SetUnits(std::move(units));
  return status.ok() ? "ok" : Refusal(status);
}

std::string Restart(ConsistencyPolicy& policy) {
  auto restored = ConsistencyPolicy::Restore(policy.options(), policy.Snapshot());
  if (!restored.ok()) return Refusal(restored.status());
  policy = *std::move(restored);
  return "ok";
}

std::string CloseRound(ConsistencyPolicy& policy, int32_t group, Clock clock,
                       const std::vector<std::string>& words) {
  std::vector<ReplicaRange> covered;
  for (size_t i = 3; i < words.size(); ++i) covered.push_back(Range(words[i]));
  const PolicySnapshot before = policy.Snapshot();
  const absl::Status status = policy.OnRound(group, clock, covered);
  if (status.ok()) return "ok";
  EXPECT_EQ(policy.Snapshot(), before);
  return Refusal(status);
}

// The same rounds, as a backup hears of them.
void Mirror(const ConsistencyPolicy& policy, const std::vector<std::string>& words,
            ConsistencyPolicy& mirror) {
  if (words[0] != "push") return;
  const int32_t group = policy.GroupOf(Range(words[1]).first);
  const Clock clock = Integer(absl::StripPrefix(words[2], "@"));
  EXPECT_TRUE(mirror.OnRound(group, clock, policy.LastRound(group)).ok());
  EXPECT_EQ(mirror.Snapshot(), policy.Snapshot());
  EXPECT_EQ(mirror.LastRoundLead(group), policy.LastRoundLead(group));
}

std::string Play(ConsistencyPolicy& policy, const std::vector<std::string>& words) {
  const auto clock = [&words] { return Integer(absl::StripPrefix(words[2], "@")); };
  if (words[0] == "push") return Push(policy, Range(words[1]), clock());
  if (words[0] == "read") return Read(policy, static_cast<ReplicaId>(Integer(words[1])), clock());
  if (words[0] == "units") return SetUnits(policy, words);
  if (words[0] == "restart") return Restart(policy);
  if (words[0] == "dropped") return absl::StrCat(policy.dropped());
  if (words[0] == "settled") {
    return policy.Settled(Integer(absl::StripPrefix(words[1], "@"))) ? "yes" : "no";
  }
  if (words[0] == "forget") {
    policy.ForgetOpenRounds();
    return "ok";
  }
  const auto index = static_cast<int32_t>(Integer(words[1]));
  if (words[0] == "round") return CloseRound(policy, index, clock(), words);
  if (words[0] == "clock") return absl::StrCat(policy.GroupClock(index));
  if (words[0] == "replica") return absl::StrCat(policy.ReplicaClock(index));
  if (words[0] == "covered") return absl::StrCat(policy.Covered(index));
  if (words[0] == "lead") return absl::StrCat(policy.LastRoundLead(index));
  if (words[0] == "applied") return absl::StrCat(policy.applied()[static_cast<size_t>(index)]);
  return absl::StrCat("unknown event `", words[0], "`");
}

void RunScript(const ConsistencyOptions& options, const std::string& script) {
  ConsistencyPolicy policy = Make(options);
  ConsistencyPolicy mirror = policy;
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(script, '\n')) {
    ++number;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    const std::pair<std::string, std::string> parts = absl::StrSplit(line, absl::MaxSplits("->", 1));
    const std::vector<std::string> words = absl::StrSplit(parts.first, ' ', absl::SkipWhitespace());
    const std::string came = Play(policy, words);
    EXPECT_EQ(came, absl::StripAsciiWhitespace(parts.second))
        << "in line " << number << ": " << absl::StripAsciiWhitespace(line);
    if (absl::StartsWith(came, "apply")) Mirror(policy, words, mirror);
  }
}

const ConsistencyOptions kSync4{.replicas = 4, .group = 4};

TEST(ConsistencyPolicy, SyncRoundWaitsForEveryReplica) {
  RunScript(kSync4, R"(
    read 0 @0    -> yes
    read 0 @1    -> no
    push 0 @0    -> hold
    push 2..3 @0 -> hold
    covered 0    -> 3
    read 0 @1    -> no
    push 1 @0    -> apply 4
    clock 0      -> 1
    covered 0    -> 0
    read 0 @1    -> yes
    read 3 @1    -> yes
    read 3 @2    -> no
    read 0 @0    -> yes
    replica 2    -> 1
  )");
}

TEST(ConsistencyPolicy, OneWorkerWithAllReplicasPushesWholeRounds) {
  RunScript(kSync4, R"(
    push 0..3 @0 -> apply 4
    push 0..3 @1 -> apply 4
    push 0..3 @1 -> applied
    clock 0      -> 2
  )");
}

TEST(ConsistencyPolicy, RoundOfAnotherPolicyClosesTheOpenOne) {
  RunScript(kSync4, R"(
    push 0..1 @0         -> hold
    round 0 @0 2..3 0..1 -> ok
    clock 0              -> 1
    applied 0            -> 1
    covered 0            -> 0
    push 0..1 @0         -> applied
    push 0..1 @1         -> hold
    round 0 @0 0..3      -> refused FAILED_PRECONDITION
    round 0 @2 0..3      -> refused FAILED_PRECONDITION
    round 0 @1 0..2      -> refused INVALID_ARGUMENT
    round 0 @1 0..3 3    -> refused INVALID_ARGUMENT
    round 0 @1 0..4      -> refused INVALID_ARGUMENT
    round 0 @1 3..0      -> refused INVALID_ARGUMENT
    round 0 @1           -> refused INVALID_ARGUMENT
    round 1 @1 0..3      -> refused INVALID_ARGUMENT
    covered 0            -> 2
    round 0 @1 0..3      -> ok
    applied 3            -> 2
  )");
}

TEST(ConsistencyPolicy, RoundOfAnotherPolicyDropsWhomItDropped) {
  RunScript({.replicas = 3, .group = 3, .drop_stragglers = 1}, R"(
    round 0 @0 0 2 -> ok
    dropped        -> 1
    push 1 @0      -> dropped
    push 2 @0      -> applied
    applied 1      -> 0
    push 1 @1      -> hold
  )");
}

TEST(ConsistencyPolicy, RoundOfAnotherPolicyKeepsTheBound) {
  RunScript({.replicas = 2, .group = 1, .staleness = 1}, R"(
    round 1 @0 1 -> ok
    round 1 @1 1 -> ok
    round 1 @2 1 -> refused FAILED_PRECONDITION
    round 1 @2 0 -> refused INVALID_ARGUMENT
    round 0 @0 0 -> ok
    round 1 @2 1 -> ok
    lead 1       -> 1
  )");
}

TEST(ConsistencyPolicy, WhatWasForgottenIsPushedAgain) {
  RunScript(kSync4, R"(
    push 0..1 @0 -> hold
    forget       -> ok
    covered 0    -> 0
    push 2..3 @0 -> hold
    push 0..1 @0 -> apply 4
    forget       -> ok
    push 0..1 @0 -> applied
  )");
}

TEST(ConsistencyPolicy, RetryWithinTheRoundIsADuplicate) {
  RunScript(kSync4, R"(
    push 0..1 @0 -> hold
    push 0..1 @0 -> duplicate
    push 1 @0    -> duplicate
    covered 0    -> 2
    push 2 @0    -> hold
    push 2 @0    -> duplicate
    push 3 @0    -> apply 4
  )");
}

TEST(ConsistencyPolicy, RetryAfterTheRoundIsAlreadyApplied) {
  RunScript(kSync4, R"(
    push 0..1 @0 -> hold
    push 2..3 @0 -> apply 4
    push 2..3 @0 -> applied
    push 3 @0    -> applied
    push 0..3 @0 -> applied
    push 0..3 @1 -> apply 4
    push 0 @0    -> applied
    clock 0      -> 2
  )");
}

TEST(ConsistencyPolicy, ContainingRangeReplacesWhatIsHeld) {
  // Replica 1 and then all of 0..3 go to a worker that sums more than the one before.
  RunScript({.replicas = 8, .group = 8}, R"(
    push 1 @0    -> hold
    push 3 @0    -> hold
    push 0..1 @0 -> hold
    covered 0    -> 3
    push 0..3 @0 -> hold
    covered 0    -> 4
    push 2 @0    -> duplicate
    push 4..7 @0 -> apply 8
  )");
}

TEST(ConsistencyPolicy, ReplicasThatCameOneByOneCoverTheirRange) {
  RunScript(kSync4, R"(
    push 1 @0    -> hold
    push 0 @0    -> hold
    push 0..1 @0 -> duplicate
    push 3 @0    -> hold
    push 2..3 @0 -> apply 4
  )");
}

TEST(ConsistencyPolicy, WholeRangeFillsAPartlyCoveredRound) {
  RunScript(kSync4, R"(
    push 0 @0    -> hold
    push 2..3 @0 -> hold
    push 0..3 @0 -> apply 4
    push 1 @0    -> applied
  )");
}

TEST(ConsistencyPolicy, ArrivalOrderDoesNotMatter) {
  RunScript(kSync4, R"(
    push 3 @0 -> hold
    push 1 @0 -> hold
    push 0 @0 -> hold
    push 2 @0 -> apply 4
    push 2 @1 -> hold
    push 3 @0 -> applied
    push 0 @1 -> hold
    push 3 @1 -> hold
    push 1 @1 -> apply 4
  )");
}

TEST(ConsistencyPolicy, GroupOfThree) {
  RunScript({.replicas = 3, .group = 3}, R"(
    push 1..2 @0 -> refused INVALID_ARGUMENT
    push 2 @0    -> hold
    push 0..1 @0 -> apply 3
    push 0..2 @1 -> apply 3
  )");
}

TEST(ConsistencyPolicy, GroupOfFiveWhereTheLastReplicaIsANodeOfItsOwn) {
  RunScript({.replicas = 5, .group = 5}, R"(
    push 4 @0    -> hold
    push 3..4 @0 -> refused INVALID_ARGUMENT
    push 2..3 @0 -> hold
    push 0..3 @0 -> apply 5
    push 0..4 @1 -> apply 5
  )");
}

TEST(ConsistencyPolicy, GroupOfSix) {
  RunScript({.replicas = 6, .group = 6}, R"(
    push 4..5 @0 -> hold
    push 2..5 @0 -> refused INVALID_ARGUMENT
    push 5 @0    -> duplicate
    push 0..3 @0 -> apply 6
  )");
}

TEST(ConsistencyPolicy, GroupOfSeven) {
  RunScript({.replicas = 7, .group = 7}, R"(
    push 6 @0    -> hold
    push 5..6 @0 -> refused INVALID_ARGUMENT
    push 4..6 @0 -> hold
    push 6 @0    -> duplicate
    push 0..3 @0 -> apply 7
  )");
}

TEST(ConsistencyPolicy, AsyncReplicasNeverWaitForOthers) {
  RunScript({.replicas = 2, .group = 1, .staleness = ConsistencyOptions::kUnbounded}, R"(
    push 0 @0 -> apply 1
    push 0 @1 -> apply 1
    push 0 @2 -> apply 1
    read 0 @3 -> yes
    read 1 @0 -> yes
    read 1 @1 -> no
    push 1 @0 -> apply 1
    push 1 @0 -> applied
    clock 0   -> 3
    clock 1   -> 1
  )");
}

TEST(ConsistencyPolicy, FastReplicaWaitsAtStalenessBound) {
  RunScript({.replicas = 2, .group = 1, .staleness = 2}, R"(
    push 0 @0 -> apply 1
    push 0 @1 -> apply 1
    read 0 @2 -> yes
    push 0 @2 -> apply 1
    read 0 @3 -> no
    push 0 @3 -> refused FAILED_PRECONDITION
    clock 0   -> 3
    push 1 @0 -> apply 1
    read 0 @3 -> yes
    push 0 @3 -> apply 1
    read 0 @4 -> no
    push 1 @1 -> apply 1
    read 0 @4 -> yes
    read 1 @2 -> yes
  )");
}

TEST(ConsistencyPolicy, StalenessZeroWithGroupsOfOneIsLockstep) {
  RunScript({.replicas = 3, .group = 1, .staleness = 0}, R"(
    push 2 @0 -> apply 1
    read 2 @1 -> no
    push 0 @0 -> apply 1
    read 2 @1 -> no
    push 1 @0 -> apply 1
    read 2 @1 -> yes
    read 0 @1 -> yes
  )");
}

TEST(ConsistencyPolicy, GroupsReduceInsideAndDoNotWaitForOneAnother) {
  RunScript({.replicas = 6, .group = 3, .staleness = ConsistencyOptions::kUnbounded}, R"(
    push 3..4 @0 -> hold
    push 2..3 @0 -> refused INVALID_ARGUMENT
    push 0..5 @0 -> refused INVALID_ARGUMENT
    push 0..1 @0 -> hold
    push 5 @0    -> apply 3
    clock 1      -> 1
    clock 0      -> 0
    read 4 @1    -> yes
    read 0 @1    -> no
    push 3..5 @1 -> apply 3
    push 2 @0    -> apply 3
    read 0 @1    -> yes
    replica 4    -> 2
    replica 1    -> 1
  )");
}

TEST(ConsistencyPolicy, GroupsUnderABoundWaitForTheSlowestGroup) {
  RunScript({.replicas = 4, .group = 2, .staleness = 1}, R"(
    push 0..1 @0 -> apply 2
    push 0..1 @1 -> apply 2
    read 1 @2    -> no
    push 2 @0    -> hold
    read 1 @2    -> no
    push 3 @0    -> apply 2
    read 1 @2    -> yes
  )");
}

TEST(ConsistencyPolicy, LateReplicaIsDroppedAndJumpsToTheCurrentRound) {
  RunScript({.replicas = 4, .group = 4, .drop_stragglers = 1}, R"(
    push 0..1 @0 -> hold
    push 3 @0    -> apply 3
    dropped      -> 1
    read 3 @1    -> yes
    push 2 @0    -> dropped
    push 2 @0    -> dropped
    dropped      -> 1
    replica 2    -> 0
    read 2 @1    -> yes
    push 2 @1    -> hold
    push 0..1 @1 -> apply 3
    replica 2    -> 2
    push 3 @1    -> dropped
    dropped      -> 2
  )");
}

TEST(ConsistencyPolicy, RetryOfAReplicaThatCountedIsNotDropped) {
  RunScript({.replicas = 4, .group = 4, .drop_stragglers = 1}, R"(
    push 2 @0    -> hold
    push 0..1 @0 -> apply 3
    push 2 @0    -> applied
    push 0 @0    -> applied
    push 0..1 @0 -> applied
    push 2..3 @0 -> dropped
    push 3 @0    -> dropped
    push 2..3 @1 -> hold
    push 2 @0    -> applied
    push 0..1 @1 -> apply 4
    dropped      -> 1
  )");
}

TEST(ConsistencyPolicy, RangeMayCloseARoundWithMoreThanItsQuorum) {
  RunScript({.replicas = 4, .group = 4, .drop_stragglers = 2}, R"(
    push 0 @0    -> hold
    push 2..3 @0 -> apply 3
    dropped      -> 1
    push 1 @0    -> dropped
    push 0..3 @1 -> apply 4
    dropped      -> 1
  )");
}

const ConsistencyOptions kThreeWorkersOfTwo{
    .replicas = 6, .group = 6, .drop_stragglers = 2, .units = {{0, 1}, {2, 3}, {4, 5}}};

TEST(ConsistencyPolicy, AUnitThatHasBegunIsWaitedFor) {
  RunScript(kThreeWorkersOfTwo, R"(
    push 0..1 @0 -> hold
    push 2 @0    -> hold
    push 4..5 @0 -> hold
    covered 0    -> 5
    read 0 @1    -> no
    push 2 @0    -> duplicate
    push 3 @0    -> apply 6
    dropped      -> 0
  )");
}

TEST(ConsistencyPolicy, AUnitIsDroppedAsAWhole) {
  RunScript(kThreeWorkersOfTwo, R"(
    push 0..1 @0 -> hold
    push 4 @0    -> hold
    push 5 @0    -> apply 4
    push 2 @0    -> dropped
    push 3 @0    -> dropped
    dropped      -> 2
    push 2..3 @1 -> hold
    push 0 @1    -> hold
    covered 0    -> 3
    push 1 @1    -> apply 4
    push 4..5 @1 -> dropped
    applied 2    -> 1
    applied 3    -> 1
    applied 5    -> 1
  )");
}

TEST(ConsistencyPolicy, UnitsNeedNotBeNodesOfTheTree) {
  // Nodes 2 and 3 are of different workers, but siblings: their sum is half of each unit.
  RunScript({.replicas = 6, .group = 6, .drop_stragglers = 3, .units = {{0, 2}, {3, 5}}}, R"(
    push 3 @0    -> hold
    push 4..5 @0 -> apply 3
    push 2 @1    -> hold
    push 3 @1    -> hold
    push 4..5 @1 -> hold
    covered 0    -> 4
    push 0..1 @1 -> apply 6
    push 0..1 @0 -> applied
    dropped      -> 3
  )");
}

TEST(ConsistencyPolicy, ReplicasOfNoUnitAreDroppedOneByOne) {
  RunScript({.replicas = 4, .group = 4, .drop_stragglers = 1, .units = {{0, 1}}}, R"(
    push 3 @0    -> hold
    push 0 @0    -> hold
    push 2 @0    -> hold
    push 1 @0    -> apply 4
    push 0..1 @1 -> hold
    push 2 @1    -> apply 3
    push 3 @1    -> dropped
  )");
}

TEST(ConsistencyPolicy, WithoutDropsUnitsChangeNothing) {
  RunScript({.replicas = 4, .group = 2, .staleness = ConsistencyOptions::kUnbounded, .units = {{0, 3}}}, R"(
    push 2 @0 -> hold
    push 3 @0 -> apply 2
    push 0 @0 -> hold
    push 1 @0 -> apply 2
  )");
}

TEST(ConsistencyPolicy, SettledOnceTheSlowestGroupHasAppliedAllBefore) {
  RunScript({.replicas = 4, .group = 2, .staleness = ConsistencyOptions::kUnbounded}, R"(
    settled @0   -> yes
    push 0..1 @0 -> apply 2
    push 0..1 @1 -> apply 2
    settled @1   -> no
    push 2..3 @0 -> apply 2
    settled @1   -> yes
    settled @2   -> no
    push 2..3 @1 -> apply 2
    settled @2   -> yes
    settled @1   -> yes
  )");
}

TEST(ConsistencyPolicy, LeadIsTheDistanceToTheSlowestGroupBeforeTheRound) {
  RunScript({.replicas = 3, .group = 1, .staleness = 2}, R"(
    push 0 @0 -> apply 1
    lead 0    -> 0
    push 0 @1 -> apply 1
    lead 0    -> 1
    push 0 @2 -> apply 1
    lead 0    -> 2
    push 1 @0 -> apply 1
    lead 1    -> 0
    push 2 @0 -> apply 1
    push 0 @3 -> apply 1
    lead 0    -> 2
    applied 0 -> 4
    applied 0 -> 4
    applied 2 -> 1
  )");
}

TEST(ConsistencyPolicy, LeadIsZeroInASingleGroup) {
  RunScript(kSync4, R"(
    push 0..3 @0 -> apply 4
    push 0..3 @1 -> apply 4
    lead 0       -> 0
    applied 3    -> 2
    push 0..3 @1 -> applied
    applied 3    -> 2
  )");
}

TEST(ConsistencyPolicy, RefusesUnitsThatAreNoCutOfTheReplicas) {
  const auto code = [](const std::vector<ReplicaRange>& units) {
    const ConsistencyOptions options{.replicas = 4, .group = 4, .drop_stragglers = 1, .units = units};
    return ConsistencyPolicy::Create(options).status().code();
  };
  EXPECT_EQ(code({{0, 1}, {2, 3}}), absl::StatusCode::kOk);
  EXPECT_EQ(code({{3, 3}, {0, 1}}), absl::StatusCode::kOk);
  EXPECT_EQ(code({{0, 1}, {1, 2}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{0, 3}, {2, 2}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{2, 4}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{-1, 1}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{2, 1}}), absl::StatusCode::kInvalidArgument);
}

// --- Snapshots

TEST(ConsistencyPolicy, ARestoredPolicyAnswersAsBeforeAndHoldsNothing) {
  RunScript({.replicas = 4, .group = 4, .drop_stragglers = 1}, R"(
    push 0..1 @0 -> hold
    push 3 @0    -> apply 3
    push 0..1 @1 -> hold
    restart      -> ok
    clock 0      -> 1
    covered 0    -> 0
    dropped      -> 1
    applied 3    -> 1
    applied 2    -> 0
    push 3 @0    -> applied
    push 2 @0    -> dropped
    read 2 @1    -> yes
    read 2 @2    -> no
    push 0..1 @1 -> hold
    push 2 @1    -> apply 3
    dropped      -> 2
    replica 2    -> 2
  )");
}

TEST(ConsistencyPolicy, ARestoredPolicyKnowsTheSlowestGroup) {
  RunScript({.replicas = 3, .group = 1, .staleness = 1}, R"(
    push 0 @0  -> apply 1
    push 1 @0  -> apply 1
    push 2 @0  -> apply 1
    push 0 @1  -> apply 1
    push 1 @1  -> apply 1
    push 0 @2  -> apply 1
    restart    -> ok
    read 0 @3  -> no
    read 1 @2  -> yes
    settled @1 -> yes
    settled @2 -> no
    push 2 @1  -> apply 1
    read 0 @3  -> yes
    settled @2 -> yes
    push 0 @3  -> apply 1
    lead 0     -> 1
  )");
}

TEST(ConsistencyPolicy, RefusesASnapshotThatCanNotBeItsOwnAndSaysWhy) {
  const ConsistencyOptions sync{.replicas = 4, .group = 2, .staleness = ConsistencyOptions::kUnbounded};
  const ConsistencyOptions dropping{.replicas = 4, .group = 4, .drop_stragglers = 1};
  const PolicySnapshot good{{2, 1}, {2, 2, 1, 1}, {2, 2, 1, 1}};
  const auto refusal = [&](const ConsistencyOptions& options, auto damage) {
    PolicySnapshot snapshot = good;
    if (options.drop_stragglers > 0) snapshot = {{2}, {2, 2, 1, 0}, {2, 2, 1, 0}, 3};
    damage(snapshot);
    const absl::Status status = ConsistencyPolicy::Restore(options, snapshot).status();
    EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  using S = PolicySnapshot;
  using ::testing::HasSubstr;
  EXPECT_EQ(refusal(sync, [](S&) {}), "");
  EXPECT_EQ(refusal(dropping, [](S&) {}), "");
  EXPECT_THAT(refusal(sync, [](S& s) { s.group_clocks.pop_back(); }), HasSubstr("1 groups, not 2"));
  EXPECT_THAT(refusal(sync, [](S& s) { s.replica_clocks.push_back(1); }),
              HasSubstr("5 replicas' clocks, not 4"));
  EXPECT_THAT(refusal(sync, [](S& s) { s.applied.clear(); }), HasSubstr("0 replicas' counts, not 4"));
  EXPECT_THAT(refusal(sync, [](S& s) { s.group_clocks[1] = -1; }), HasSubstr("clock of group 1 is -1"));
  EXPECT_THAT(refusal(sync, [](S& s) { s.group_clocks[1] = INT64_MAX; }),
              HasSubstr("clock of group 1 is 9223"));
  EXPECT_THAT(refusal(sync, [](S& s) { s.replica_clocks[3] = -2; }), HasSubstr("clock of replica 3 is -2"));
  EXPECT_THAT(refusal(sync, [](S& s) { s.applied[0] = -2; }), HasSubstr("count of replica 0 is -2"));
  EXPECT_THAT(refusal(sync, [](S& s) { s.replica_clocks[2] = 2; }),
              HasSubstr("replica 2 is at clock 2, its group at 1"));
  EXPECT_THAT(refusal(sync, [](S& s) { s.replica_clocks[0] = 1; }),
              HasSubstr("replica 0 is at clock 1, its group at 2"));
  EXPECT_THAT(refusal(sync, [](S& s) { s.applied[3] = 2; }),
              HasSubstr("replica 3 counted 2 times in 1 clocks"));
  EXPECT_THAT(refusal(sync, [](S& s) { s.dropped = 1; }), HasSubstr("1 minibatches were dropped"));
  EXPECT_THAT(refusal(dropping, [](S& s) { s.dropped = -1; }), HasSubstr("-1 minibatches were dropped"));
  EXPECT_THAT(refusal(dropping, [](S& s) { s.replica_clocks[3] = 3; }), HasSubstr("replica 3 is at clock 3"));
  EXPECT_THAT(refusal({.replicas = 4, .group = 3}, [](S&) {}), HasSubstr("cannot be cut into groups"));
}

// --- Units that change

TEST(ConsistencyPolicy, ARoundThatNewUnitsCompleteClosesWithItsNextPush) {
  RunScript({.replicas = 4, .group = 4, .drop_stragglers = 1, .units = {{0, 1}, {2, 3}}}, R"(
    push 0..1 @0 -> hold
    push 2 @0    -> hold
    units 0..1 2 3 -> ok
    covered 0    -> 3
    read 0 @1    -> no
    push 0..1 @0 -> duplicate
    push 3 @0    -> apply 4
    push 0..1 @1 -> hold
    push 2 @1    -> apply 3
  )");
}

TEST(ConsistencyPolicy, ARoundWaitsForTheRestOfANewUnitThatHasBegun) {
  RunScript({.replicas = 4, .group = 4, .drop_stragglers = 2, .units = {{0, 1}, {2, 2}, {3, 3}}}, R"(
    push 2 @0    -> hold
    units 0 1 2..3 -> ok
    push 1 @0    -> hold
    push 0 @0    -> hold
    push 3 @0    -> apply 4
  )");
}

TEST(ConsistencyPolicy, RefusedUnitsChangeNothing) {
  RunScript({.replicas = 4, .group = 4, .drop_stragglers = 1, .units = {{0, 1}, {2, 3}}}, R"(
    units 0..2 2..3 -> refused INVALID_ARGUMENT
    units 4      -> refused INVALID_ARGUMENT
    push 0..1 @0 -> hold
    push 2 @0    -> hold
    push 3 @0    -> apply 4
  )");
}

// Units change in the middle of rounds, again and again. Then the workers of the last cut push what they run
// for the open round, all of it, in any order: that closes the round, and all others after it.
TEST(ConsistencyPolicy, NoRoundStaysOpenWhereUnitsChangeAndWorkersPushAgain) {
  for (uint32_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    const auto replicas = static_cast<int32_t>(2 + random() % 9);
    const auto drops = static_cast<int32_t>(1 + random() % (replicas - 1));
    ConsistencyPolicy policy = Make({.replicas = replicas, .group = replicas, .drop_stragglers = drops});
    for (int change = 0; change < 4; ++change) {
      std::vector<ReplicaRange> units;
      for (ReplicaId first = 0; first < replicas; first = units.back().last + 1) {
        units.push_back({first, static_cast<ReplicaId>(first + random() % (replicas - first))});
      }
      ASSERT_TRUE(policy.SetUnits(units).ok());
      std::vector<ReplicaRange> nodes;
      for (const ReplicaRange unit : units) {
        for (const ReplicaRange node : ReplicaTree(replicas).Cover(unit)) nodes.push_back(node);
      }
      for (int round = 0; round < 3; ++round) {
        const Clock open = policy.GroupClock(0);
        std::shuffle(nodes.begin(), nodes.end(), random);
        for (const ReplicaRange node : nodes) ASSERT_TRUE(policy.OnPush(node, open).ok());
        ASSERT_EQ(policy.GroupClock(0), open + 1);
      }
      // Some of the next round, then the next change.
      nodes.resize(random() % (nodes.size() + 1));
      for (const ReplicaRange node : nodes) ASSERT_TRUE(policy.OnPush(node, policy.GroupClock(0)).ok());
    }
  }
}

// Workers that run a unit each, as fast as chance has it: push all nodes of a clock, in any order and some
// twice; then go on to the next clock or, when dropped, to the open round.
class RandomWorkers {
 public:
  explicit RandomWorkers(uint32_t seed) : random_(seed), policy_(Make(Options())), workers_(units_.size()) {}

  void RunRounds(Clock rounds) {
    // A quorum pushes in every round, so that every so many events a round must close.
    for (int events = 0; policy_.GroupClock(0) < rounds; ++events) {
      ASSERT_LT(events, 10000) << "round " << policy_.GroupClock(0) << " does not close";
      const size_t worker = random_() % workers_.size();
      if (!workers_[worker].pending.empty()) {
        PushOne(worker);
      } else if (policy_.GroupClock(0) > workers_[worker].clock || workers_[worker].clock < 0) {
        Begin(worker);
      }
    }
  }

  void ExpectEachCountedOnceOrDropped() const {
    int64_t counted = 0;
    for (const ReplicaRange unit : units_) {
      for (ReplicaId replica = unit.first; replica <= unit.last; ++replica) {
        EXPECT_EQ(policy_.applied()[replica], counted_[unit.first]) << "replica " << replica;
        EXPECT_EQ(policy_.ReplicaClock(replica), policy_.ReplicaClock(unit.first));
        counted += policy_.applied()[replica];
      }
    }
    EXPECT_EQ(counted + policy_.dropped(), policy_.GroupClock(0) * policy_.options().replicas);
  }

 private:
  struct Worker {
    Clock clock = -1;  // that it pushes
    std::vector<ReplicaRange> pending;
  };

  ConsistencyOptions Options() {
    ConsistencyOptions options;
    options.replicas = options.group = static_cast<int32_t>(2 + random_() % 9);
    options.drop_stragglers = static_cast<int32_t>(random_() % options.group);
    for (ReplicaId first = 0; first < options.replicas;) {
      const auto last = static_cast<ReplicaId>(first + random_() % (options.replicas - first));
      units_.push_back({first, last});
      first = last + 1;
    }
    options.units = units_;
    counted_.resize(options.replicas, 0);
    return options;
  }

  void Begin(size_t worker) {
    workers_[worker].clock = policy_.GroupClock(0);
    for (const ReplicaRange node : ReplicaTree(policy_.options().group).Cover(units_[worker])) {
      workers_[worker].pending.insert(workers_[worker].pending.end(), 1 + random_() % 2, node);
    }
    std::shuffle(workers_[worker].pending.begin(), workers_[worker].pending.end(), random_);
  }

  void PushOne(size_t worker) {
    const ReplicaRange node = workers_[worker].pending.back();
    workers_[worker].pending.pop_back();
    const auto action = policy_.OnPush(node, workers_[worker].clock);
    ASSERT_TRUE(action.ok()) << action.status();
    if (*action == Action::kApplyRound) CheckRound();
  }

  void CheckRound() {
    int32_t size = 0;
    for (const ReplicaRange unit : units_) {
      const bool present = policy_.ReplicaClock(unit.first) == policy_.GroupClock(0);
      if (present) size += unit.size();
      if (present) ++counted_[unit.first];
      for (ReplicaId replica = unit.first; replica <= unit.last; ++replica) {
        ASSERT_EQ(policy_.ReplicaClock(replica) == policy_.GroupClock(0), present) << "a unit was split";
      }
    }
    ASSERT_EQ(policy_.LastRoundSize(0), size);
    ASSERT_GE(size, policy_.options().group - policy_.options().drop_stragglers);
  }

  std::mt19937 random_;
  std::vector<ReplicaRange> units_;
  std::vector<int64_t> counted_;  // by first replica of a unit
  ConsistencyPolicy policy_;
  std::vector<Worker> workers_;
};

TEST(ConsistencyPolicy, RoundsCloseWithWholeUnitsWhateverTheOrder) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RandomWorkers workers(seed);
    ASSERT_NO_FATAL_FAILURE(workers.RunRounds(20));
    workers.ExpectEachCountedOnceOrDropped();
  }
}

TEST(ConsistencyPolicy, RefusesWhatNoHonestReplicaSends) {
  RunScript(kSync4, R"(
    push 4 @0    -> refused INVALID_ARGUMENT
    push -1 @0   -> refused INVALID_ARGUMENT
    push 3..4 @0 -> refused INVALID_ARGUMENT
    push 1..0 @0 -> refused INVALID_ARGUMENT
    push 1..2 @0 -> refused INVALID_ARGUMENT
    push 0 @-1   -> refused INVALID_ARGUMENT
    push 0 @1    -> refused FAILED_PRECONDITION
    push 0 @9223372036854775807 -> refused FAILED_PRECONDITION
    read 4 @0    -> refused INVALID_ARGUMENT
    read -1 @0   -> refused INVALID_ARGUMENT
    read 0 @-1   -> refused INVALID_ARGUMENT
    read 0 @9223372036854775807 -> no
    covered 0    -> 0
    push 0..3 @0 -> apply 4
    push 0 @2    -> refused FAILED_PRECONDITION
    covered 0    -> 0
  )");
}

TEST(ConsistencyPolicy, RefusesOptionsOutOfRange) {
  const auto code = [](const ConsistencyOptions& options) {
    return ConsistencyPolicy::Create(options).status().code();
  };
  EXPECT_EQ(code({.replicas = 0, .group = 1}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.replicas = 4, .group = 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.replicas = 4, .group = 3}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.replicas = 4, .group = 8}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.replicas = 4, .group = 2, .staleness = -2}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.replicas = 4, .group = 4, .drop_stragglers = 4}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.replicas = 4, .group = 4, .drop_stragglers = -1}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.replicas = 4, .group = 2, .drop_stragglers = 1}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.replicas = 4, .group = 4, .drop_stragglers = 3}), absl::StatusCode::kOk);
}

TEST(ConsistencyPolicy, StalenessBoundPerMode) {
  constexpr Clock kUnbounded = ConsistencyOptions::kUnbounded;
  EXPECT_EQ((ConsistencyOptions{.replicas = 4, .group = 4, .staleness = 0}).StalenessBoundVersions(), 0);
  EXPECT_EQ((ConsistencyOptions{.replicas = 4, .group = 1, .staleness = 3}).StalenessBoundVersions(), 21);
  EXPECT_EQ((ConsistencyOptions{.replicas = 4, .group = 2, .staleness = 1}).StalenessBoundVersions(), 3);
  EXPECT_EQ((ConsistencyOptions{.replicas = 4, .group = 1, .staleness = kUnbounded}).StalenessBoundVersions(),
            kUnbounded);
}

// What every replica of a shard does, as the policy allows: read, compute, push.
class Replicas {
 public:
  explicit Replicas(const ConsistencyOptions& options)
      : policy_(Make(options)), read_at_(options.replicas, -1) {}

  bool CanRead(ReplicaId replica) const {
    return read_at_[replica] < 0 && *policy_.MayRead(replica, policy_.ReplicaClock(replica));
  }
  void ReadWeights(ReplicaId replica) { read_at_[replica] = version_; }
  bool CanPush(ReplicaId replica) const { return read_at_[replica] >= 0; }
  // Returns the staleness of the push.
  int64_t PushGradient(ReplicaId replica) {
    const int64_t staleness = version_ - read_at_[replica];
    EXPECT_EQ(policy_.OnPush({replica, replica}, policy_.ReplicaClock(replica)).value(), Action::kApplyRound);
    ++version_;
    read_at_[replica] = -1;
    return staleness;
  }
  void Step(ReplicaId replica) {
    ReadWeights(replica);
    PushGradient(replica);
  }

 private:
  ConsistencyPolicy policy_;
  Version version_ = 0;
  std::vector<Version> read_at_;  // version that the replica computes on, or -1
};

const ConsistencyOptions kSsp4{.replicas = 4, .group = 1, .staleness = 3};

TEST(ConsistencyPolicy, WorstCaseReachesTheStalenessBound) {
  Replicas replicas(kSsp4);
  for (int step = 0; step < 3; ++step) replicas.Step(0);
  replicas.ReadWeights(0);  // as far ahead as allowed
  for (int step = 0; step < 7; ++step) {
    for (ReplicaId other = 1; other < 4; ++other) {
      ASSERT_TRUE(replicas.CanRead(other));
      replicas.Step(other);
    }
  }
  for (ReplicaId other = 1; other < 4; ++other) EXPECT_FALSE(replicas.CanRead(other));
  EXPECT_EQ(replicas.PushGradient(0), kSsp4.StalenessBoundVersions());
}

TEST(ConsistencyPolicy, NoScheduleExceedsTheStalenessBound) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    Replicas replicas(kSsp4);
    for (int event = 0; event < 2000; ++event) {
      const auto replica = static_cast<ReplicaId>(random() % 4);
      if (replicas.CanRead(replica)) {
        replicas.ReadWeights(replica);
      } else if (replicas.CanPush(replica) && random() % 4 == 0) {
        ASSERT_LE(replicas.PushGradient(replica), kSsp4.StalenessBoundVersions()) << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace tessera

// A node's tie to a coordinator that is there, changes its mind, goes away and comes back.
#include "common/rpc/node_agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "tests/common/rpc/fake_coordinator.h"

namespace tessera {
namespace {

using Heard = FakeCoordinator::Heard;
using Script = FakeCoordinator::Script;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class NodeAgentTest : public ::testing::Test {
 protected:
  void Join(NodeOptions options = {}) {
    if (options.coordinator.empty()) options.coordinator = coordinator_.address();
    absl::StatusOr<std::unique_ptr<NodeAgent>> agent = NodeAgent::Join(options);
    ASSERT_TRUE(agent.ok()) << agent.status();
    agent_ = *std::move(agent);
  }
  void JoinWithShortHeartbeats(absl::Duration patience = kDefaultPatience) {
    coordinator_.Set([](Script& script) {
      script.registration.set_heartbeat_ms(10);
      script.registration.set_lease_ms(1000);
    });
    Join({.coordinator = coordinator_.address(), .patience = patience});
  }
  // A new map, of which the next heartbeat's answer tells.
  void Publish(int64_t term, int64_t rewind = 0) {
    coordinator_.Set([=](Script& script) {
      script.heartbeat.set_phase(wire::RUNNING);
      script.heartbeat.set_term(term);
      script.map.set_term(term);
      script.map.set_rewind(rewind);
    });
  }
  static wire::ClusterMap Map(int64_t term, int64_t rewind) {
    wire::ClusterMap map;
    map.set_term(term);
    map.set_rewind(rewind);
    return map;
  }
  static wire::ReportEvaluationRequest Evaluation(int64_t clock) {
    wire::ReportEvaluationRequest request;
    request.set_clock(clock);
    return request;
  }
  // Answers each evaluation with what `status` says.
  void OnEvaluation(const std::function<absl::Status(int64_t clock)>& status) {
    coordinator_.Set([&](Script& script) {
      script.on_evaluation = [status](const wire::ReportEvaluationRequest& request) {
        return status(request.clock());
      };
    });
  }
  std::vector<int64_t> EvaluationsHeard() {
    std::vector<int64_t> clocks;
    for (const auto& request : coordinator_.heard().evaluations) clocks.push_back(request.clock());
    return clocks;
  }

  FakeCoordinator coordinator_;
  std::unique_ptr<NodeAgent> agent_;
};

TEST_F(NodeAgentTest, WaitsForAMapThatIsNewerThanTheGivenTerm) {
  Publish(5);
  Join();
  EXPECT_EQ(agent_->WaitForMap(0)->term(), 5);
  EXPECT_EQ(agent_->WaitForMap(4)->term(), 5);
  auto next = std::async(std::launch::async, [&] { return agent_->WaitForMap(5); });
  Publish(9, 2);
  agent_->Poke();
  const absl::StatusOr<wire::ClusterMap> map = next.get();
  ASSERT_TRUE(map.ok()) << map.status();
  EXPECT_EQ(map->term(), 9);
  EXPECT_EQ(map->rewind(), 2);
}

TEST_F(NodeAgentTest, AMapThatMayNotBeAdoptedYetIsAskedForAgain) {
  Publish(5);
  coordinator_.Set([](Script& script) { script.map_status = absl::UnavailableError("servers change over"); });
  Join();
  auto map = std::async(std::launch::async, [&] { return agent_->WaitForMap(0); });
  const auto asked = [](size_t count) {
    return [count](const Heard& heard) { return heard.map_requests.size() >= count; };
  };
  coordinator_.WaitFor(asked(2));
  coordinator_.Set([](Script& script) {
    script.map_status = absl::OkStatus();
    script.map.set_term(0);  // none that is new
  });
  coordinator_.WaitFor(asked(4));
  coordinator_.Set([](Script& script) { script.map.set_term(5); });
  EXPECT_EQ(map.get()->term(), 5);
}

TEST_F(NodeAgentTest, TellsAtOnceWhichMapItHasAdopted) {
  Join();
  EXPECT_EQ(coordinator_.WaitForHeartbeats(1).heartbeats[0].term(), 0);
  int64_t seen_term = 0;
  agent_->set_progress_source([&](wire::HeartbeatRequest* request) {
    seen_term = request->term();
    request->set_min_clock(33);
  });
  agent_->Adopted(Map(5, 2));
  const wire::HeartbeatRequest beat = coordinator_.WaitForHeartbeats(2).heartbeats[1];
  EXPECT_EQ(beat.term(), 5);
  EXPECT_EQ(beat.rewind(), 2);
  EXPECT_EQ(beat.min_clock(), 33);
  agent_->set_progress_source({});
  agent_.reset();
  EXPECT_EQ(seen_term, 5) << "the source knows of which rewind it is asked";
}

TEST_F(NodeAgentTest, TellsOfEachTermAboveTheAdoptedOnceAlsoOfOneNamedBefore) {
  Publish(5);
  Join();
  ASSERT_TRUE(agent_->WaitForMap(0).ok());
  std::vector<int64_t> terms;  // the heartbeat thread's, until the agent is gone
  agent_->set_on_new_term([&](int64_t term) { terms.push_back(term); });
  agent_->Poke();
  coordinator_.WaitForHeartbeats(2);
  agent_->Adopted(Map(5, 0));
  coordinator_.WaitForHeartbeats(3);
  Publish(6);
  agent_->Poke();
  coordinator_.WaitForHeartbeats(4);
  agent_->Poke();
  coordinator_.WaitForHeartbeats(5);
  agent_->Poke();
  coordinator_.WaitForHeartbeats(6);
  agent_.reset();
  EXPECT_THAT(terms, ElementsAre(5, 6));
}

TEST_F(NodeAgentTest, TellsOfEachClockThatIsToBeSavedOnce) {
  Join();
  EXPECT_EQ(agent_->checkpoint_clock(), 0);
  std::vector<Clock> clocks;  // the heartbeat thread's, until the agent is gone
  agent_->set_on_checkpoint([&](Clock clock) { clocks.push_back(clock); });
  size_t beats = 1;
  for (const Clock clock : {40, 40, 50, 50, 0, 0}) {
    coordinator_.WaitForHeartbeats(beats);
    coordinator_.Set([&](Script& script) { script.heartbeat.set_checkpoint_clock(clock); });
    agent_->Poke();
    coordinator_.WaitForHeartbeats(++beats);
  }
  agent_.reset();
  EXPECT_THAT(clocks, ElementsAre(40, 50));
}

TEST_F(NodeAgentTest, HeartbeatsComeAsSoonAsTheCoordinatorSays) {
  coordinator_.Set([](Script& script) { script.heartbeat.set_next_heartbeat_ms(1); });
  Join();
  coordinator_.WaitForHeartbeats(5);  // they are a minute apart else
}

TEST_F(NodeAgentTest, AnyNumberOfPokesDuringAHeartbeatCostOneMore) {
  Join();
  coordinator_.WaitForHeartbeats(1);
  coordinator_.CloseGate(true);
  agent_->Poke();
  coordinator_.WaitForHeartbeats(2);  // under way
  for (int i = 0; i < 100; ++i) agent_->Poke();
  coordinator_.CloseGate(false);
  coordinator_.WaitForHeartbeats(3);
  agent_.reset();
  EXPECT_EQ(coordinator_.heard().heartbeats.size(), 3u);
}

TEST_F(NodeAgentTest, GoesOnWhenTheCoordinatorIsBackAfterMoreThanALease) {
  JoinWithShortHeartbeats();
  const size_t before = coordinator_.WaitForHeartbeats(2).heartbeats.size();
  coordinator_.Close();
  ASSERT_TRUE(agent_->QueueEvaluation(Evaluation(10)).ok()) << "nothing waits for it";
  agent_->ReportProgress();
  auto end = std::async(std::launch::async, [&] { return agent_->WaitForEnd(); });
  EXPECT_EQ(end.wait_for(std::chrono::milliseconds(1500)), std::future_status::timeout);
  coordinator_.Start();
  coordinator_.WaitForHeartbeats(before + 2);
  EXPECT_TRUE(agent_->FlushReports().ok());
  EXPECT_THAT(EvaluationsHeard(), ElementsAre(10));
  EXPECT_EQ(coordinator_.heard().registrations.size(), 1u) << "it is the same node";
  agent_->Interrupt(absl::OkStatus());
  EXPECT_TRUE(end.get().ok());
}

TEST_F(NodeAgentTest, FindsACoordinatorThatWasStartedAgainElsewhere) {
  FakeCoordinator other;
  const std::string both = absl::StrCat(other.address(), ",", coordinator_.address());
  other.Close();
  coordinator_.Set([](Script& script) { script.registration.set_heartbeat_ms(10); });
  Join({.coordinator = both});  // the second of them
  coordinator_.WaitForHeartbeats(2);
  coordinator_.Close();
  other.Start();
  const Heard heard = other.WaitForHeartbeats(2);
  EXPECT_EQ(heard.registrations.size(), 0u);
  EXPECT_EQ(heard.heartbeats[0].node_id(), 7);
}

TEST_F(NodeAgentTest, ANodeThatDrainsSaysSoAndLeavesOnceItMay) {
  Join();
  EXPECT_FALSE(coordinator_.WaitForHeartbeats(1).heartbeats.back().draining());
  agent_->Drain(absl::Minutes(10), absl::CancelledError("asked to"));
  const auto drains = [](const Heard& heard) { return heard.heartbeats.back().draining(); };
  const size_t heard = coordinator_.WaitFor(drains).heartbeats.size();
  agent_->Poke();
  coordinator_.WaitForHeartbeats(heard + 1);
  EXPECT_FALSE(agent_->parked());  // it goes on
  coordinator_.Set([](Script& script) { script.heartbeat.set_may_leave(true); });
  agent_->Poke();
  EXPECT_EQ(agent_->WaitForEnd(), absl::CancelledError("asked to"));
}

TEST_F(NodeAgentTest, ANodeThatDrainsLeavesAnywayAfterItsTime) {
  Join();
  agent_->Drain(absl::Milliseconds(20), absl::CancelledError("asked to"));
  EXPECT_EQ(agent_->WaitForEnd(), absl::CancelledError("asked to"));
}

TEST_F(NodeAgentTest, ANodeThatDrainsDoesNotWaitForACoordinatorThatIsAway) {
  JoinWithShortHeartbeats();
  coordinator_.WaitForHeartbeats(1);
  coordinator_.Close();
  agent_->Drain(absl::Minutes(10), absl::CancelledError("asked to"));
  EXPECT_EQ(agent_->WaitForEnd(), absl::CancelledError("asked to"));
}

TEST_F(NodeAgentTest, GivesUpWhenItsPatienceIsOver) {
  JoinWithShortHeartbeats(absl::Milliseconds(300));
  coordinator_.WaitForHeartbeats(1);
  coordinator_.Close();
  const absl::Status end = agent_->WaitForEnd();
  EXPECT_EQ(end.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(end.message()), HasSubstr("lost the coordinator at " + coordinator_.address()));
  EXPECT_FALSE(NodeAgent::Evicted(end));
  EXPECT_EQ(agent_->WaitForMap(0).status(), end);
}

TEST_F(NodeAgentTest, ANodeThatWasDeclaredDeadIsToldSo) {
  JoinWithShortHeartbeats();
  coordinator_.WaitForHeartbeats(1);
  auto map = std::async(std::launch::async, [&] { return agent_->WaitForMap(0); });
  coordinator_.Set([](Script& script) { script.heartbeat_status = absl::NotFoundError("node 7 is dead"); });
  const absl::Status end = agent_->WaitForEnd();
  EXPECT_TRUE(NodeAgent::Evicted(end)) << end;
  EXPECT_THAT(std::string(end.message()), HasSubstr("node 7 is dead"));
  EXPECT_TRUE(NodeAgent::Evicted(map.get().status()));
  EXPECT_FALSE(NodeAgent::Evicted(absl::NotFoundError("node 7 is dead"))) << "any other status";
  agent_->Leave();
  for (const auto& beat : coordinator_.heard().heartbeats)
    EXPECT_FALSE(beat.leaving()) << "it is gone already";

  const std::string before = coordinator_.heard().registrations[0].incarnation();
  coordinator_.Set([](Script& script) { script.heartbeat_status = absl::OkStatus(); });
  JoinWithShortHeartbeats();
  EXPECT_NE(coordinator_.heard().registrations[1].incarnation(), before);
}

TEST_F(NodeAgentTest, EvaluationsAreDeliveredInOrderAndAgainUntilTheyAreTaken) {
  Join();
  int refusals = 3;
  OnEvaluation(
      [&](int64_t) { return refusals-- > 0 ? absl::UnavailableError("not journaled") : absl::OkStatus(); });
  for (const int64_t clock : {10, 20, 30}) ASSERT_TRUE(agent_->QueueEvaluation(Evaluation(clock)).ok());
  wire::ReportCheckpointRequest checkpoint;
  checkpoint.set_clock(30);
  agent_->ReportCheckpoint(checkpoint);
  EXPECT_TRUE(agent_->FlushReports().ok());
  EXPECT_THAT(EvaluationsHeard(), ElementsAre(10, 10, 10, 10, 20, 30));
  const Heard heard = coordinator_.heard();
  EXPECT_EQ(heard.evaluations[0].node_id(), 7);
  EXPECT_EQ(heard.evaluations[0].incarnation(), heard.registrations[0].incarnation());
  ASSERT_EQ(heard.checkpoints.size(), 1u);
  EXPECT_EQ(heard.checkpoints[0].node_id(), 7);
  EXPECT_EQ(heard.checkpoints[0].incarnation(), heard.registrations[0].incarnation());
}

TEST_F(NodeAgentTest, AnEvaluationOfAnotherRewindIsDroppedAndTheNextOnesCount) {
  Join();
  OnEvaluation([](int64_t clock) {
    return clock == 20 ? absl::FailedPreconditionError("of rewind 1") : absl::OkStatus();
  });
  for (const int64_t clock : {20, 10}) ASSERT_TRUE(agent_->QueueEvaluation(Evaluation(clock)).ok());
  EXPECT_TRUE(agent_->FlushReports().ok());
  EXPECT_THAT(EvaluationsHeard(), ElementsAre(20, 10));
}

TEST_F(NodeAgentTest, AnEvaluationThatMakesNoSenseIsAnErrorOfThisNode) {
  Join();
  OnEvaluation([](int64_t) { return absl::InvalidArgumentError("chunk 9 of 4"); });
  ASSERT_TRUE(agent_->QueueEvaluation(Evaluation(10)).ok());
  const absl::Status refused = agent_->FlushReports();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("chunk 9 of 4"));
  EXPECT_EQ(agent_->QueueEvaluation(Evaluation(20)), refused);
}

TEST_F(NodeAgentTest, ARefusedCheckpointIsNoErrorOfThisNode) {
  Join();
  coordinator_.Set([](Script& script) {
    script.on_checkpoint = [](const auto&) { return absl::InvalidArgumentError("shard 9 of 4"); };
  });
  agent_->ReportCheckpoint({});
  EXPECT_TRUE(agent_->FlushReports().ok());
}

TEST_F(NodeAgentTest, OfTooManyReportsTheNewestAreKept) {
  Join();
  coordinator_.WaitForHeartbeats(1);
  coordinator_.CloseGate(true);
  agent_->Poke();
  coordinator_.WaitForHeartbeats(2);  // reports wait for this heartbeat's answer
  for (int64_t clock = 0; clock < 70; ++clock) ASSERT_TRUE(agent_->QueueEvaluation(Evaluation(clock)).ok());
  coordinator_.CloseGate(false);
  EXPECT_TRUE(agent_->FlushReports().ok());
  const std::vector<int64_t> heard = EvaluationsHeard();
  ASSERT_EQ(heard.size(), 64u);
  EXPECT_EQ(heard.front(), 6);
  EXPECT_EQ(heard.back(), 69);
}

TEST_F(NodeAgentTest, AWaitForReportsEndsWithTheJob) {
  Join();
  OnEvaluation([](int64_t) { return absl::UnavailableError("never"); });
  ASSERT_TRUE(agent_->QueueEvaluation(Evaluation(10)).ok());
  coordinator_.WaitFor([](const Heard& heard) { return heard.evaluations.size() >= 2; });
  coordinator_.Set([](Script& script) {
    script.heartbeat.set_phase(wire::FAILED);
    script.heartbeat.set_message("worker 1: NaN");
  });
  agent_->Poke();
  EXPECT_EQ(agent_->FlushReports(), absl::AbortedError("worker 1: NaN"));
  EXPECT_EQ(agent_->QueueEvaluation(Evaluation(20)), absl::AbortedError("worker 1: NaN"));
}

TEST_F(NodeAgentTest, AnErrorOfItsOwnIsReportedUnlessTheJobIsOver) {
  Join();
  const absl::Status own = absl::InternalError("the loss is\nnot finite");
  EXPECT_EQ(agent_->Conclude(own), own);
  ASSERT_EQ(coordinator_.heard().failures.size(), 1u);
  EXPECT_EQ(coordinator_.heard().failures[0].message(), "the loss is not finite");

  coordinator_.Set([](Script& script) { script.heartbeat.set_phase(wire::STOPPED); });
  EXPECT_TRUE(agent_->Conclude(own).ok());
  EXPECT_EQ(coordinator_.heard().failures.size(), 1u);
}

}  // namespace
}  // namespace tessera

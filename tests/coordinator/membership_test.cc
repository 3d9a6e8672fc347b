#include "coordinator/membership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "common/protocol.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const absl::Time kStart = absl::UnixEpoch();

NodeIntroduction Introduce(NodeRole role, int number) {
  return {.protocol_version = kProtocolVersion,
          .role = role,
          .address = role == NodeRole::kServer ? absl::StrCat("127.0.0.1:", 4000 + number) : "",
          .host = "here",
          .pid = 100 + number,
          .incarnation = absl::StrCat("incarnation-", number),
          .fingerprint = "cpu avx2"};
}
NodeIntroduction Server(int number) { return Introduce(NodeRole::kServer, number); }
NodeIntroduction Worker(int number) { return Introduce(NodeRole::kWorker, number); }

TEST(Membership, NumbersNodesOfEachRoleInOrderOfRegistration) {
  Membership members({.servers = 2, .workers = 2});
  EXPECT_EQ(members.Register(Worker(1), kStart)->node->Name(), "worker 0");
  EXPECT_EQ(members.Register(Server(2), kStart)->node->Name(), "server 0");
  EXPECT_EQ(members.Register(Server(3), kStart)->node->Describe(), "server 1 (pid 103, 127.0.0.1:4003)");
  EXPECT_EQ(members.WaitingFor(), "waiting for 1 of 2 workers");
  EXPECT_FALSE(members.complete());
  EXPECT_EQ(members.Register(Worker(4), kStart)->node->Describe(), "worker 1 (pid 104, here)");
  EXPECT_TRUE(members.complete());
  EXPECT_EQ(members.WaitingFor(), "");
}

TEST(Membership, WaitsForBothRoles) {
  Membership members({.servers = 2, .workers = 1});
  EXPECT_EQ(members.WaitingFor(), "waiting for 2 of 2 servers and 1 of 1 worker");
}

TEST(Membership, TakesTheSameIncarnationOnce) {
  Membership members({.servers = 1, .workers = 1});
  const auto first = members.Register(Server(1), kStart);
  const auto again = members.Register(Server(1), kStart + absl::Seconds(1));
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(first->joined);
  EXPECT_FALSE(again->joined);
  EXPECT_EQ(first->node, again->node);
  EXPECT_EQ(members.nodes().size(), 1u);
}

TEST(Membership, TakesMoreNodesThanTheJobWantsUpToABound) {
  Membership members({.servers = 1, .workers = 1});
  for (int number = 0; number < 4 + 64; ++number) {
    ASSERT_TRUE(members.Register(Worker(number), kStart).ok()) << number;
  }
  const absl::Status refused = members.Register(Worker(1000), kStart).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.message(), HasSubstr("the cluster is full: 68 workers are alive, the job wants 1"));
  EXPECT_TRUE(members.Register(Server(1001), kStart).ok()) << "roles are counted apart";
}

TEST(Membership, ASuccessorGetsTheFreeIndexAndAnIdOfItsOwn) {
  Membership members({.servers = 1, .workers = 3});
  for (const int number : {1, 2, 3}) ASSERT_TRUE(members.Register(Worker(number), kStart).ok());
  ASSERT_NE(members.Remove(2, Node::State::kDead), nullptr);
  EXPECT_EQ(members.Remove(2, Node::State::kDead), nullptr) << "it is dead already";
  EXPECT_EQ(members.WaitingFor(), "waiting for 1 of 1 server and 1 of 3 workers");
  const Node& successor = *members.Register(Worker(4), kStart)->node;
  EXPECT_EQ(successor.Name(), "worker 1");
  EXPECT_EQ(successor.id, 4);
  EXPECT_EQ(members.Register(Worker(5), kStart)->node->Name(), "worker 3");
  EXPECT_EQ(members.WaitingFor(), "waiting for 1 of 1 server");
}

TEST(Membership, ForgetsTheOldestOfTheDeadAndGivesNoIdTwice) {
  Membership members({.servers = 1, .workers = 1});
  int32_t last_id = 0;
  for (int number = 0; number < 1000; ++number) {
    const int32_t id = members.Register(Worker(number), kStart)->node->id;
    EXPECT_GT(id, last_id);
    last_id = id;
    members.Remove(id, Node::State::kLeft);
    members.Expire(kStart);
  }
  EXPECT_EQ(members.nodes().size(), Membership::kMostGone);
  EXPECT_EQ(members.Find(1), nullptr);
  EXPECT_EQ(members.FindAlive(last_id, "incarnation-999").status().code(), absl::StatusCode::kNotFound);
}

TEST(Membership, FindsTheLivingNodeOfAProcess) {
  Membership members({.servers = 1, .workers = 1});
  const Node* const worker = members.Register(Worker(1), kStart)->node;
  EXPECT_EQ(members.FindProcess("here", 101), worker);
  EXPECT_EQ(members.FindProcess("there", 101), nullptr);
  EXPECT_EQ(members.FindProcess("here", 102), nullptr);
  members.Remove(worker->id, Node::State::kDead);
  EXPECT_EQ(members.FindProcess("here", 101), nullptr);
}

TEST(Membership, RefusesAnotherProtocolVersionNamingBoth) {
  Membership members({});
  NodeIntroduction old = Server(1);
  old.protocol_version = 77;
  const absl::Status refused = members.Register(old, kStart).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.message(), HasSubstr("version 77"));
  EXPECT_THAT(refused.message(), HasSubstr(absl::StrCat("version ", kProtocolVersion)));
  EXPECT_THAT(members.nodes(), IsEmpty());
}

TEST(Membership, RefusesWorkersThatComputeOtherwiseNamingBothFingerprints) {
  Membership members({.servers = 1, .workers = 2, .same_fingerprint = true});
  ASSERT_TRUE(members.Register(Worker(1), kStart).ok());
  NodeIntroduction other = Worker(2);
  other.fingerprint = "cpu avx512";
  const absl::Status refused = members.Register(other, kStart).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.message(), HasSubstr("`cpu avx512`"));
  EXPECT_THAT(refused.message(), HasSubstr("first worker has `cpu avx2`"));
}

TEST(Membership, MixesFingerprintsWhereTheJobIsNotDeterministic) {
  Membership members({.servers = 1, .workers = 2, .same_fingerprint = false});
  ASSERT_TRUE(members.Register(Worker(1), kStart).ok());
  NodeIntroduction other = Worker(2);
  other.fingerprint = "cpu avx512";
  EXPECT_TRUE(members.Register(other, kStart).ok());
}

TEST(Membership, RefusesAbsurdIntroductions) {
  Membership members({});
  NodeIntroduction nameless = Worker(1);
  nameless.incarnation = "";
  NodeIntroduction unreachable = Server(2);
  unreachable.address = "";
  NodeIntroduction huge = Worker(3);
  huge.fingerprint.assign(1 << 20, 'x');
  for (const NodeIntroduction& introduction : {nameless, unreachable, huge}) {
    EXPECT_EQ(members.Register(introduction, kStart).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(Membership, DeclaresANodeDeadOnceItsLeaseHasRunOut) {
  Membership members({.servers = 1, .workers = 1, .lease = absl::Seconds(3)});
  const Node* server = members.Register(Server(1), kStart)->node;
  ASSERT_TRUE(members.Register(Worker(2), kStart + absl::Seconds(2)).ok());
  EXPECT_THAT(members.Expire(kStart + absl::Milliseconds(2999)), IsEmpty());
  EXPECT_THAT(members.Expire(kStart + absl::Seconds(3)), ElementsAre(server));
  EXPECT_THAT(members.Expire(kStart + absl::Seconds(4)), IsEmpty());  // said once
  EXPECT_EQ(members.NumAlive(NodeRole::kServer), 0);
  EXPECT_EQ(members.NumAlive(NodeRole::kWorker), 1);
}

TEST(Membership, ADeadIncarnationStaysDead) {
  Membership members({.servers = 1, .workers = 1, .lease = absl::Seconds(3)});
  const int32_t id = members.Register(Server(1), kStart)->node->id;
  members.Expire(kStart + absl::Seconds(3));
  EXPECT_EQ(members.FindAlive(id, "incarnation-1").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(members.Register(Server(1), kStart + absl::Seconds(4)).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(Membership, FindsOnlyTheRightIncarnation) {
  Membership members({});
  const int32_t id = members.Register(Server(1), kStart)->node->id;
  EXPECT_TRUE(members.FindAlive(id, "incarnation-1").ok());
  for (const int32_t unknown : {0, -1, id + 1, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(members.FindAlive(unknown, "incarnation-1").status().code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(members.Find(unknown), nullptr);
    EXPECT_EQ(members.Remove(unknown, Node::State::kDead), nullptr);
  }
  EXPECT_EQ(members.FindAlive(id, "incarnation-2").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace tessera

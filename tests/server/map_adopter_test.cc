// What a server makes of one map after the other.
#include "server/map_adopter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/rpc/cluster_map.h"
#include "tests/common/temporary_folder.h"
#include "tests/server/test_shards.h"

namespace tessera {
namespace {

constexpr int64_t kLength = 8;
constexpr int64_t kShardBytes = 1 << 10;
constexpr int64_t kStepsPerEpoch = 10;
constexpr int32_t kNodeId = 7;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What was reported, in order. Thread-safe.
class Reports {
 public:
  void Add(wire::ReportCheckpointRequest report) {
    MutexLock lock(&mutex_);
    reports_.push_back(std::move(report));
    changed_.NotifyAll();
  }
  // Waits for `count` of them, at most 20 s.
  std::vector<wire::ReportCheckpointRequest> WaitFor(size_t count) {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    MutexLock lock(&mutex_);
    while (reports_.size() < count && absl::Now() < deadline)
      changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
    return reports_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<wire::ReportCheckpointRequest> reports_ ABSL_GUARDED_BY(mutex_);
};

class MapAdopterTest : public ::testing::Test {
 protected:
  MapAdopterTest() {
    job_.train.replicas = 2;
    job_.train.optimizer = {.name = "momentum", .options = {{"lr", "1"}, {"momentum", "0.5"}}};
    job_.train.consistency.mode = "sync";
    job_.checkpoint.unit = CheckpointSpec::Unit::kSteps;
    job_.checkpoint.count = 2;
  }
  void TearDown() override { adopter_.reset(); }

  MapAdopter& Adopter() {
    if (adopter_ == nullptr) {
      adopter_ = std::make_unique<MapAdopter>(MapAdopter::Options{
          .job = job_,
          .node_id = kNodeId,
          .index = 1,
          .incarnation = "abc",
          .service = service_,
          .version_memory = version_memory_,
          .report = [this](wire::ReportCheckpointRequest r) { reports_.Add(std::move(r)); }});
    }
    return *adopter_;
  }
  // That gives this server `shards`, and another one shard 0.
  wire::ClusterMap Map(int64_t term, int64_t rewind, const std::vector<ShardId>& shards = {0, 1}) {
    wire::ClusterMap map;
    map.set_term(term);
    map.set_rewind(rewind);
    wire::ServerEntry* other = map.add_servers();
    other->set_node_id(kNodeId + 1);
    other->set_index(1);  // a dead self had the same
    other->add_shards(0);
    wire::ServerEntry* own = map.add_servers();
    own->set_node_id(kNodeId);
    own->mutable_shards()->Assign(shards.begin(), shards.end());
    LayoutToMap(TestLayout(kLength, kShardBytes), kShardBytes, &map);
    map.set_steps_per_epoch(kStepsPerEpoch);
    return map;
  }
  // As the coordinator does it.
  void SaveTo(wire::ClusterMap& map) {
    if (probe_.empty()) probe_ = *WriteProbe(Dir());
    map.set_checkpoint_folder(Dir());
    map.set_checkpoint_probe(probe_);
  }
  void RestoreFrom(const wire::ReportCheckpointRequest& report, wire::ClusterMap& map) {
    map.mutable_restore()->set_folder(CheckpointPath(Dir(), report.clock()));
    map.mutable_restore()->set_clock(report.clock());
    *map.mutable_restore()->add_files() = report.file();
  }
  std::string Dir() const { return folder_.File("checkpoints"); }
  const std::shared_ptr<ParameterStore> store() const { return service_->store(); }

  // One round on every shard, of both replicas.
  void Step(Clock clock) {
    for (const ShardId shard : store()->primaries()) {
      const Floats gradient(shard == 0 ? kLength : 8, 1 + static_cast<float>(clock));
      const auto action = store()->Push({shard, {0, 1}, clock, clock}, Bytes(gradient));
      ASSERT_TRUE(action.ok()) << action.status();
    }
  }
  Floats Weights(ShardId shard = 0) const { return Values(*store()->Latest(shard)->weights); }

  JobSpec job_;
  TemporaryFolder folder_;
  std::string probe_;
  VersionMemorySource version_memory_;
  const std::shared_ptr<ParameterService> service_ = ParameterService::Create();
  Reports reports_;
  std::unique_ptr<MapAdopter> adopter_;
};

TEST_F(MapAdopterTest, HoldsWhatTheMapGivesToItsNode) {
  ASSERT_TRUE(Adopter().Adopt(Map(5, 0, {1})).ok());
  EXPECT_THAT(store()->held(), ElementsAre(1));
  EXPECT_EQ(store()->VersionRange().second, 0);
}

TEST_F(MapAdopterTest, WhenReplicasMoveTheShardsGoOn) {
  ASSERT_TRUE(Adopter().Adopt(Map(5, 3)).ok());
  Step(0);
  const auto before = store();
  ASSERT_TRUE(Adopter().Adopt(Map(6, 3, {1, 0})).ok());
  EXPECT_EQ(store(), before);
  Step(1);
  EXPECT_EQ(store()->VersionRange().first, 2);
}

TEST_F(MapAdopterTest, WhenReplicasMoveSoDoTheUnitsOfDroppedStragglers) {
  job_.train.replicas = 4;
  job_.train.consistency.drop_stragglers = 2;
  const auto map_of = [&](int64_t term, const std::vector<ReplicaRange>& units) {
    wire::ClusterMap map = Map(term, 0);
    for (const ReplicaRange unit : units) {
      wire::WorkerEntry* worker = map.add_workers();
      for (ReplicaId replica = unit.first; replica <= unit.last; ++replica) worker->add_replicas(replica);
    }
    return map;
  };
  ASSERT_TRUE(Adopter().Adopt(map_of(5, {{0, 3}})).ok());
  EXPECT_EQ(*store()->Push({0, {0, 1}, 0, 0}, Bytes(Floats(kLength, 1))), ConsistencyPolicy::Action::kHold);
  ASSERT_TRUE(Adopter().Adopt(map_of(6, {{0, 1}, {2, 3}})).ok());
  EXPECT_EQ(*store()->Push({0, {2, 3}, 0, 0}, Bytes(Floats(kLength, 1))),
            ConsistencyPolicy::Action::kApplyRound);
  EXPECT_EQ(*store()->Push({0, {0, 1}, 1, 1}, Bytes(Floats(kLength, 1))),
            ConsistencyPolicy::Action::kApplyRound)
      << "a unit of its own now";
}

TEST_F(MapAdopterTest, ARewindBeginsAnewAndTheOldShardsGoFirst) {
  std::weak_ptr<ParameterStore> old;
  bool old_was_gone = false;
  version_memory_ = [&](size_t) {
    old_was_gone = old.expired();
    return nullptr;
  };
  ASSERT_TRUE(Adopter().Adopt(Map(5, 0)).ok());
  const Floats first = Weights();
  Step(0);
  old = store();
  ASSERT_TRUE(Adopter().Adopt(Map(6, 1)).ok());
  EXPECT_TRUE(old_was_gone);
  EXPECT_EQ(store()->VersionRange().second, 0);
  EXPECT_TRUE(SameBits(Weights(), first));
}

// One that has joined again finds the map of before, by which workers still send it what they have.
TEST_F(MapAdopterTest, ASpareServerHoldsNothingUntilARewindGivesItShards) {
  wire::ClusterMap without = Map(5, 0);
  without.mutable_servers()->RemoveLast();
  version_memory_ = [](size_t bytes) {
    EXPECT_GT(bytes, 0u) << "nothing is asked for nothing";
    return nullptr;
  };
  SaveTo(without);
  ASSERT_TRUE(Adopter().Adopt(without).ok());
  EXPECT_EQ(store(), nullptr) << "so that all is answered UNAVAILABLE, and sent again later";
  Adopter().SaveAt(4);
  wire::HeartbeatRequest beat;
  Adopter().FillProgress(&beat);
  EXPECT_EQ(beat.min_clock(), 0);
  ASSERT_TRUE(Adopter().Adopt(Map(6, 1)).ok());
  EXPECT_EQ(store()->held().size(), 2u);
  EXPECT_TRUE(reports_.WaitFor(0).empty());
}

TEST_F(MapAdopterTest, OtherShardsWithoutARewindAreRefused) {
  ASSERT_TRUE(Adopter().Adopt(Map(5, 0, {1})).ok());
  EXPECT_EQ(Adopter().Adopt(Map(6, 0, {0, 1})).code(), absl::StatusCode::kInternal);
}

// The same with this server as a backup, and with what is to be copied to it.
void Give(wire::ClusterMap& map, const std::vector<ShardId>& backups,
          const std::vector<ShardId>& copies = {}) {
  wire::ServerEntry* own = map.mutable_servers(1);
  own->mutable_backups()->Assign(backups.begin(), backups.end());
  own->mutable_copies()->Assign(copies.begin(), copies.end());
}

TEST_F(MapAdopterTest, WhenRolesChangeTheShardsGoOn) {
  ASSERT_TRUE(Adopter().Adopt(Map(5, 3)).ok());
  Step(0);
  const auto before = store();
  wire::ClusterMap map = Map(6, 3, {1});
  Give(map, {0});
  ASSERT_TRUE(Adopter().Adopt(map).ok());
  EXPECT_EQ(store(), before);
  EXPECT_THAT(store()->primaries(), ElementsAre(1));
  EXPECT_THAT(store()->held(), ElementsAre(0, 1));
  EXPECT_EQ(store()->Mark(0), (ShardMark{1, 5}));
  ASSERT_TRUE(Adopter().Adopt(Map(7, 3, {0})).ok());
  EXPECT_THAT(store()->primaries(), ElementsAre(0));
  EXPECT_THAT(store()->held(), ElementsAre(0)) << "what the map does not give is dropped";
  Step(1);
  EXPECT_EQ(store()->Mark(0), (ShardMark{2, 7}));
  EXPECT_EQ(Adopter().Adopt(Map(8, 3)).code(), absl::StatusCode::kInternal) << "nobody has copied it back";
}

TEST_F(MapAdopterTest, ABackupBeginsWhereItsPrimaryDoes) {
  wire::ClusterMap map = Map(5, 3, {1});
  Give(map, {0});
  ASSERT_TRUE(Adopter().Adopt(map).ok());
  EXPECT_THAT(store()->primaries(), ElementsAre(1));
  EXPECT_EQ(store()->Mark(0), (ShardMark{0, 0}));
  ASSERT_TRUE(Adopter().Adopt(Map(6, 3)).ok());
  Step(0);
  EXPECT_EQ(store()->VersionRange().first, 1);
}

TEST_F(MapAdopterTest, AServerThatIsToGetShardsHasNoneUntilTheyAreCopied) {
  ASSERT_TRUE(Adopter().Adopt(Map(4, 3)).ok());
  Step(0);
  std::optional<ShardCopy> copy;
  ASSERT_TRUE(store()->Copy(0, [&copy](ShardCopy taken) { copy = std::move(taken); }).ok());
  size_t asked = 0;
  adopter_.reset();
  version_memory_ = [&asked](size_t bytes) {
    asked = bytes;
    return nullptr;
  };
  wire::ClusterMap map = Map(5, 7, {});
  Give(map, {}, {0});
  ASSERT_TRUE(Adopter().Adopt(map).ok());
  EXPECT_TRUE(store()->held().empty());
  EXPECT_GT(asked, 0u) << "its versions are to lie where workers can read them";
  ASSERT_TRUE(store()->Install(5, *copy).ok());
  map.set_term(6);
  Give(map, {0});
  ASSERT_TRUE(Adopter().Adopt(map).ok());
  EXPECT_EQ(store()->Mark(0).version, 1);
  ASSERT_TRUE(Adopter().Adopt(Map(7, 7, {0})).ok());
  Step(1);
  EXPECT_EQ(store()->Mark(0).version, 2);
}

TEST_F(MapAdopterTest, SavesTheShardsThatItIsThePrimaryOf) {
  const auto map = [this](int64_t term, const std::vector<ShardId>& shards,
                          const std::vector<ShardId>& backups) {
    wire::ClusterMap given = Map(term, 0, shards);
    Give(given, backups);
    SaveTo(given);
    return given;
  };
  ASSERT_TRUE(Adopter().Adopt(map(5, {}, {0, 1})).ok());
  ASSERT_TRUE(Adopter().Adopt(map(6, {1}, {0})).ok());
  Step(0);
  Step(1);
  const auto one = reports_.WaitFor(1);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_THAT(one[0].file().shards(), ElementsAre(1));
  ASSERT_TRUE(Adopter().Adopt(map(7, {1}, {})).ok());
  Step(2);
  Step(3);
  EXPECT_THAT(reports_.WaitFor(2)[1].file().shards(), ElementsAre(1));
  ASSERT_TRUE(Adopter().Adopt(map(8, {}, {1})).ok());
  EXPECT_EQ(reports_.WaitFor(2).size(), 2u);
}

TEST_F(MapAdopterTest, SavesWhenItIsDueAndGoesOnFromThereWithTheSameBits) {
  wire::ClusterMap map = Map(5, 0);
  SaveTo(map);
  ASSERT_TRUE(Adopter().Adopt(map).ok());
  for (Clock clock = 0; clock < 3; ++clock) Step(clock);
  const std::vector<Floats> undisturbed = {Weights(0), Weights(1)};
  const auto reports = reports_.WaitFor(1);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].error(), "");
  EXPECT_EQ(reports[0].clock(), 2);
  EXPECT_EQ(reports[0].rewind(), 0);
  EXPECT_EQ(reports[0].file().name(), "server-1-abc.safetensors");
  EXPECT_THAT(reports[0].file().shards(), ElementsAre(0, 1));

  wire::ClusterMap rewound = Map(6, 1);
  SaveTo(rewound);
  RestoreFrom(reports[0], rewound);
  ASSERT_TRUE(Adopter().Adopt(rewound).ok());
  EXPECT_EQ(store()->NextClocks(), (std::vector<ClockRange>{{2, 2}, {2, 2}}));
  Step(2);
  EXPECT_TRUE(SameBits(Weights(0), undisturbed[0])) << "the optimizer's state too";
  EXPECT_TRUE(SameBits(Weights(1), undisturbed[1]));
  Step(3);
  const auto later = reports_.WaitFor(2);
  ASSERT_EQ(later.size(), 2u);
  EXPECT_EQ(later[1].clock(), 4);
  EXPECT_EQ(later[1].rewind(), 1);
}

TEST_F(MapAdopterTest, ACheckpointsClockIsThatOfAllGroups) {
  job_.train.consistency.mode = "async";
  wire::ClusterMap map = Map(5, 0);
  SaveTo(map);
  ASSERT_TRUE(Adopter().Adopt(map).ok());
  for (Clock clock = 0; clock < 2; ++clock) {
    for (const ReplicaId replica : {0, 1}) {
      for (const ShardId shard : {0, 1})
        ASSERT_TRUE(store()->Push({shard, {replica, replica}, clock, 0}, Bytes(Floats(kLength, 1))).ok());
    }
  }
  const auto reports = reports_.WaitFor(1);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].clock(), 2);
  EXPECT_EQ(store()->VersionRange().first, 4);
}

TEST_F(MapAdopterTest, SavesAtAClockThatItIsAskedForOrSaysWhyNot) {
  wire::ClusterMap map = Map(5, 0);
  SaveTo(map);
  ASSERT_TRUE(Adopter().Adopt(map).ok());
  Adopter().SaveAt(1);
  Step(0);
  ASSERT_EQ(reports_.WaitFor(1).size(), 1u);
  EXPECT_EQ(reports_.WaitFor(1)[0].clock(), 1);
  EXPECT_EQ(reports_.WaitFor(1)[0].error(), "");
  Adopter().SaveAt(1);
  ASSERT_EQ(reports_.WaitFor(2).size(), 2u);
  EXPECT_EQ(reports_.WaitFor(2)[1].clock(), 1);
  EXPECT_THAT(reports_.WaitFor(2)[1].error(), HasSubstr("fc [0,8)"));
  EXPECT_FALSE(reports_.WaitFor(2)[1].has_file());
}

TEST_F(MapAdopterTest, AClockThatWasAskedForJustBeforeARewindIsNotForgotten) {
  wire::ClusterMap map = Map(5, 0);
  SaveTo(map);
  ASSERT_TRUE(Adopter().Adopt(map).ok());
  Adopter().SaveAt(1);
  map.set_term(6);
  map.set_rewind(1);
  ASSERT_TRUE(Adopter().Adopt(map).ok());
  Step(0);
  ASSERT_EQ(reports_.WaitFor(1).size(), 1u);
  EXPECT_EQ(reports_.WaitFor(1)[0].clock(), 1);
  EXPECT_EQ(reports_.WaitFor(1)[0].rewind(), 1);
}

TEST_F(MapAdopterTest, ADamagedCheckpointIsRefusedByTheFilesName) {
  wire::ClusterMap map = Map(5, 0);
  SaveTo(map);
  ASSERT_TRUE(Adopter().Adopt(map).ok());
  for (Clock clock = 0; clock < 2; ++clock) Step(clock);
  const auto reports = reports_.WaitFor(1);
  ASSERT_EQ(reports.size(), 1u);
  const std::string path = absl::StrCat(CheckpointPath(Dir(), 2), "/", reports[0].file().name());
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(-1, std::ios::end).put('\x55');

  wire::ClusterMap rewound = Map(6, 1);
  SaveTo(rewound);
  RestoreFrom(reports[0], rewound);
  const absl::Status damaged = Adopter().Adopt(rewound);
  EXPECT_EQ(damaged.code(), absl::StatusCode::kDataLoss) << damaged;
  EXPECT_THAT(std::string(damaged.message()), HasSubstr("server-1-abc.safetensors"));
  EXPECT_EQ(store(), nullptr) << "nobody may go on with the shards of before";
}

TEST_F(MapAdopterTest, AFolderThatIsNotTheCoordinatorsIsRefused) {
  wire::ClusterMap map = Map(5, 0);
  SaveTo(map);
  map.set_checkpoint_probe("another");
  const absl::Status refused = Adopter().Adopt(map);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("checkpoint.dir"));
}

TEST_F(MapAdopterTest, TellsOfItsProgressOnTheRewindThatIsAskedFor) {
  ASSERT_TRUE(Adopter().Adopt(Map(5, 3)).ok());
  Step(0);
  wire::HeartbeatRequest beat;
  beat.set_rewind(3);
  Adopter().FillProgress(&beat);
  EXPECT_EQ(beat.min_clock(), 1);
  EXPECT_EQ(beat.server().staleness_pushes(), 4);
  wire::HeartbeatRequest other;
  other.set_rewind(2);
  Adopter().FillProgress(&other);
  EXPECT_EQ(other.min_clock(), 0);
  EXPECT_FALSE(other.has_server());
}

}  // namespace
}  // namespace tessera

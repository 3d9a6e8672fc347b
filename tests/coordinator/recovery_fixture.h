// A cluster that a test turns by hand, around a JobState: nodes that come, die and do what they are told.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/cluster_plan.h"
#include "coordinator/job_state.h"
#include "tests/coordinator/test_job.h"

namespace tessera {

// A job of two replicas and two shards, and a clock that the test turns. Nodes are known by the number that
// they introduce themselves with; all that are up send heartbeats as time passes.
class RecoveryTest : public testing::Test {
 protected:
  struct Process {
    int32_t node_id = 0;
    wire::NodeKind kind = wire::WORKER;
    int64_t term = 0;
    int64_t rewind = 0;
    bool up = true;
    wire::ClusterMap map;        // that it has adopted
    bool draining = false;       // it was asked to end
    int64_t newest_version = 0;  // of a server
  };

  JobPlan Plan() const {
    JobPlan plan = MakeTestPlan(servers_, workers_, consistency_);
    plan.job.cluster.server_backups = backups_;
    return plan;
  }

  void Begin(int32_t servers, int32_t workers, JobStateOptions options = {}) {
    servers_ = servers;
    workers_ = workers;
    options_ = std::move(options);
    state_ = std::make_unique<JobState>(Plan(), now_, options_);
    for (int32_t i = 0; i < servers; ++i) Join(wire::SERVER);
    for (int32_t i = 0; i < workers; ++i) Join(wire::WORKER);
  }
  // Servers are 1.., workers follow; everybody works with the first map.
  void BeginAndAdopt(int32_t servers, int32_t workers) {
    Begin(servers, workers);
    Settle();
    ASSERT_EQ(state_->phase(), JobPhase::kRunning);
  }

  // The number of the new node, or 0.
  int Join(wire::NodeKind kind) {
    const int number = ++introduced_;
    wire::RegisterReply reply;
    const absl::Status status = state_->Register(Introduction(kind, number), now_, &reply);
    EXPECT_TRUE(status.ok()) << status;
    processes_[number].node_id = reply.node_id();
    processes_[number].kind = kind;
    return number;
  }
  wire::HeartbeatRequest Heartbeat(int number) {
    const Process& process = processes_[number];
    wire::HeartbeatRequest request = HeartbeatOf(process.node_id);
    request.set_incarnation(absl::StrCat("incarnation-", number));
    request.set_term(process.term);
    request.set_rewind(process.rewind);
    request.set_draining(process.draining);
    request.set_newest_version(process.newest_version);
    return request;
  }
  wire::HeartbeatReply Send(const wire::HeartbeatRequest& request) {
    wire::HeartbeatReply reply;
    last_status_ = state_->Heartbeat(request, now_, &reply);
    return reply;
  }
  wire::HeartbeatReply Beat(int number) { return Send(Heartbeat(number)); }
  absl::StatusOr<wire::ClusterMap> Map(int number) {
    wire::GetClusterMapRequest request;
    request.set_node_id(processes_[number].node_id);
    request.set_incarnation(absl::StrCat("incarnation-", number));
    wire::ClusterMap map;
    const absl::Status status = state_->GetClusterMap(request, now_, &map);
    if (!status.ok()) return status;
    return map;
  }
  // Does what the coordinator tells it: fetches the map and adopts it.
  void Follow(int number) {
    Process& process = processes_[number];
    const wire::HeartbeatReply reply = Beat(number);
    if (!last_status_.ok() || reply.term() <= process.term) return;
    const auto map = Map(number);
    if (!map.ok()) return;
    process.term = map->term();
    process.rewind = map->rewind();
    process.map = *map;
    Beat(number);
  }
  // Everybody who is up follows, servers before workers.
  void Settle() {
    for (int round = 0; round < 2; ++round) {
      for (auto& [number, process] : processes_) {
        if (process.up) Follow(number);
      }
    }
  }
  void Pass(absl::Duration time) {
    constexpr absl::Duration kStep = absl::Milliseconds(250);
    for (; time > absl::ZeroDuration(); time -= kStep) {
      now_ += std::min(time, kStep);
      for (auto& [number, process] : processes_) {
        if (process.up) Beat(number);
      }
      state_->Tick(now_);
    }
  }
  void Tick() { state_->Tick(now_); }
  void Kill(int number) {
    processes_[number].up = false;
    wire::ReportExitRequest request;
    request.set_host("here");
    request.set_pid(100 + number);
    request.set_message("killed by signal 9");
    EXPECT_TRUE(state_->ReportExit(request, now_).ok());
  }
  void Train(int number, const std::vector<int32_t>& replicas, int64_t clock, int64_t first_clock = 0) {
    wire::HeartbeatRequest request = Heartbeat(number);
    for (const int32_t replica : replicas) {
      AddReplica(&request, replica, clock);
      request.mutable_replicas(request.replicas_size() - 1)->set_first_clock(first_clock);
    }
    Send(request);
    EXPECT_TRUE(last_status_.ok()) << last_status_;
  }
  absl::Status Part(int number, int64_t clock, const std::vector<int32_t>& shards, int64_t rewind = 0) {
    wire::ReportCheckpointRequest request;
    request.set_node_id(processes_[number].node_id);
    request.set_incarnation(absl::StrCat("incarnation-", number));
    request.set_rewind(rewind);
    request.set_clock(clock);
    request.mutable_file()->set_name(absl::StrCat("part-", number));
    request.mutable_file()->set_bytes(10);
    request.mutable_file()->set_sha256(std::string(32, 'x'));
    request.mutable_file()->mutable_shards()->Assign(shards.begin(), shards.end());
    return state_->ReportCheckpoint(request, now_);
  }
  absl::Status PartFailed(int number, int64_t clock, const std::string& error) {
    wire::ReportCheckpointRequest request;
    request.set_node_id(processes_[number].node_id);
    request.set_incarnation(absl::StrCat("incarnation-", number));
    request.set_clock(clock);
    request.set_error(error);
    return state_->ReportCheckpoint(request, now_);
  }
  absl::Status Fail(int number) {
    wire::ReportFailureRequest request;
    request.set_node_id(processes_[number].node_id);
    request.set_incarnation(absl::StrCat("incarnation-", number));
    request.set_message("bad data");
    return state_->ReportFailure(request, now_);
  }
  static wire::Restore At(int64_t clock) {
    wire::Restore restore;
    if (clock > 0) restore.set_folder(absl::StrCat("/checkpoints/step-", clock));
    restore.set_clock(clock);
    return restore;
  }
  wire::JobStatus Status() {
    wire::JobStatus status;
    state_->FillStatus(now_, &status);
    return status;
  }
  std::vector<std::string> Messages(const std::string& what) {
    std::vector<std::string> messages;
    const wire::JobStatus status = Status();
    for (const wire::Event& event : status.events()) {
      if (event.what() == what) messages.push_back(event.message());
    }
    return messages;
  }
  // The coordinator dies, and another one goes on from what was journaled.
  void Restart() {
    const std::string journal = state_->ToJournal(now_);
    state_ = std::make_unique<JobState>(Plan(), now_, options_);
    const absl::Status status = state_->FromJournal(journal, now_);
    ASSERT_TRUE(status.ok()) << status;
  }

  // Says that all copies of its shards in the map that it has adopted are complete.
  void ReportCopies(int number) {
    wire::HeartbeatRequest request = Heartbeat(number);
    const wire::ClusterMap& map = processes_[number].map;
    const wire::ServerEntry* const own = FindServer(map, processes_[number].node_id);
    if (own == nullptr) return;
    for (const wire::ServerEntry& server : map.servers()) {
      for (const ShardId shard : server.copies()) {
        if (std::count(own->shards().begin(), own->shards().end(), shard) == 0) continue;
        wire::CopiedShard* const copy = request.add_copied();
        copy->set_shard(shard);
        copy->set_node_id(server.node_id());
      }
    }
    Send(request);
  }
  // One step of a move: everybody adopts the newest map, copies are made, and the next map.
  void Step() {
    Settle();
    for (auto& [number, process] : processes_) {
      if (process.up && process.kind == wire::SERVER) ReportCopies(number);
    }
    Tick();
  }
  // Until nothing happens any more.
  void StepUntilQuiet() {
    constexpr int kMost = 60;
    for (int step = 0; step < kMost; ++step) {
      const int64_t term = Status().term();
      Step();
      if (Status().term() == term) return;
    }
    ADD_FAILURE() << "it does not end";
  }
  // The newest map, as the journal has it.
  wire::ClusterMap Newest() {
    wire::JournalState journal;
    EXPECT_TRUE(journal.ParseFromString(state_->ToJournal(now_)));
    return journal.map();
  }
  const wire::ServerEntry* Entry(int number) {
    newest_ = Newest();
    return FindServer(newest_, processes_[number].node_id);
  }
  std::vector<ShardId> Primaries(int number) { return Listed(number, &wire::ServerEntry::shards); }
  std::vector<ShardId> Backups(int number) { return Listed(number, &wire::ServerEntry::backups); }
  std::vector<ShardId> Copies(int number) { return Listed(number, &wire::ServerEntry::copies); }

  ConsistencySpec consistency_ = {.group = 2};  // sync
  int32_t servers_ = 1, workers_ = 1;
  JobStateOptions options_;
  absl::Time now_ = absl::UnixEpoch();
  std::unique_ptr<JobState> state_;
  std::map<int, Process> processes_;
  int introduced_ = 0;
  absl::Status last_status_;
  int32_t backups_ = 0;

 private:
  using ShardList = google::protobuf::RepeatedField<int32_t>;

  std::vector<ShardId> Listed(int number, const ShardList& (wire::ServerEntry::*list)() const) {
    const wire::ServerEntry* const entry = Entry(number);
    if (entry == nullptr) return {};
    return {(entry->*list)().begin(), (entry->*list)().end()};
  }

  wire::ClusterMap newest_;
};

}  // namespace tessera

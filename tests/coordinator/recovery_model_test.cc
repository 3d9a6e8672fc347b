// A cluster of processes that come, die, sleep and lie about the past, and a coordinator that is killed at
// any moment: whatever happens in whatever order, what docs/adr/0009-recovery.md promises holds.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "coordinator/cluster_plan.h"
#include "coordinator/job_state.h"
#include "tests/coordinator/test_job.h"

namespace tessera {
namespace {

constexpr int kEvents = 100'000;
constexpr int kMostProcesses = 9;

class Model {
 public:
  explicit Model(uint32_t seed) : random_(seed), plan_(MakeTestPlan(2, 3)) { Boot(); }

  void Step() {
    now_ += absl::Milliseconds(Below(20));
    switch (Below(16)) {
      case 0:
        return Join();
      case 1:
        return Below(12) == 0 ? Kill() : Beat();
      case 2:
        return Journal();
      case 3:
        return Announce();
      case 4:
        return Below(40) == 0 ? Crash() : Journal();
      case 5:
        return Below(30) == 0 ? Leave() : Tick();
      case 6:
        return AnswerRestore();
      case 7:
        return Ghost();
      case 8:
        return FetchMap();
      case 9:
        return FetchMap();
      case 10:
        return Tick();
      default:
        return Beat();
    }
  }

  int64_t maps_seen() const { return static_cast<int64_t>(maps_.size()); }
  int64_t rewinds_seen() const { return rewinds_; }
  int64_t crashes() const { return crashes_; }

 private:
  struct Process {
    int number = 0;
    int32_t node_id = 0;
    wire::NodeKind kind = wire::WORKER;
    int64_t term = 0, rewind = 0;
    int64_t older_term = 0, older_rewind = 0;
    absl::Time asleep_until = absl::InfinitePast();
  };

  int64_t Below(int64_t n) { return std::uniform_int_distribution<int64_t>(0, n - 1)(random_); }
  Process* Any() { return processes_.empty() ? nullptr : &processes_[Below(processes_.size())]; }

  void Boot() { state_ = std::make_unique<JobState>(plan_, now_, JobStateOptions{.journaled = true}); }

  void Join() {
    if (processes_.size() < kMostProcesses) {
      processes_.push_back({.number = ++introduced_, .kind = Below(2) == 0 ? wire::SERVER : wire::WORKER});
    }
    Process* const process = &processes_[Below(processes_.size())];
    Register(process);
  }
  void Register(Process* process) {
    wire::RegisterReply reply;
    if (!state_->Register(Introduction(process->kind, process->number), now_, &reply).ok()) return;
    if (process->node_id == reply.node_id()) return;  // again, as the same node
    EXPECT_TRUE(ids_.insert(reply.node_id()).second) << "an id that was given before: " << reply.node_id();
    process->node_id = reply.node_id();
  }
  // It was declared dead, or never known: it begins as a new incarnation.
  void Rejoin(Process* process) {
    gone_.push_back(*process);
    if (gone_.size() > 50) gone_.erase(gone_.begin());
    *process = {.number = ++introduced_, .kind = process->kind};
    Register(process);
  }
  void Kill() {
    if (processes_.empty()) return;
    const auto victim = processes_.begin() + Below(processes_.size());
    if (Below(2) == 0) {
      wire::ReportExitRequest request;
      request.set_host("here");
      request.set_pid(100 + victim->number);
      EXPECT_TRUE(state_->ReportExit(request, now_).ok());
    }
    gone_.push_back(*victim);
    processes_.erase(victim);
  }

  wire::HeartbeatRequest Heartbeat(const Process& process, int64_t term, int64_t rewind) {
    wire::HeartbeatRequest request = HeartbeatOf(process.node_id);
    request.set_incarnation(absl::StrCat("incarnation-", process.number));
    request.set_term(term);
    request.set_rewind(rewind);
    const auto map = maps_.find(term);
    if (process.kind == wire::WORKER && map != maps_.end()) {
      const wire::WorkerEntry* const worker = FindWorker(map->second, process.node_id);
      for (const int32_t replica :
           worker == nullptr ? google::protobuf::RepeatedField<int32_t>() : worker->replicas()) {
        AddReplica(&request, replica, Below(7));  // the job has 8 steps: it never ends
      }
    }
    return request;
  }
  void Send(Process* process, const wire::HeartbeatRequest& request) {
    wire::HeartbeatReply reply;
    const absl::Status status = state_->Heartbeat(request, now_, &reply);
    if (absl::IsNotFound(status)) return Rejoin(process);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_EQ(state_->over(), false);
    adopted_[request.term()].insert(process->node_id);
    ASSERT_GE(reply.term(), request.term()) << "a node is never sent back";
    if (reply.term() > request.term()) CheckTold(*process, reply.term());
  }
  void Beat() {
    Process* const process = Any();
    if (process == nullptr || process->node_id == 0 || now_ < process->asleep_until) return;
    if (Below(200) == 0) process->asleep_until = now_ + absl::Seconds(Below(6));
    const bool late = Below(10) == 0;
    Send(process, late ? Heartbeat(*process, process->older_term, process->older_rewind)
                       : Heartbeat(*process, process->term, process->rewind));
  }
  // A dead process's message arrives, or wakes.
  void Ghost() {
    if (gone_.empty()) return;
    const Process ghost = gone_[Below(gone_.size())];
    wire::HeartbeatReply reply;
    const absl::Status status = state_->Heartbeat(Heartbeat(ghost, ghost.term, ghost.rewind), now_, &reply);
    if (status.ok()) adopted_[ghost.term].insert(ghost.node_id);  // not declared dead yet
  }
  void Leave() {
    if (processes_.empty()) return;
    const auto leaver = processes_.begin() + Below(processes_.size());
    wire::HeartbeatRequest request = Heartbeat(*leaver, leaver->term, leaver->rewind);
    request.set_leaving(true);
    wire::HeartbeatReply reply;
    state_->Heartbeat(request, now_, &reply).IgnoreError();
    processes_.erase(leaver);
  }

  void FetchMap() {
    Process* const process = Any();
    if (process == nullptr || now_ < process->asleep_until) return;
    wire::GetClusterMapRequest request;
    request.set_node_id(process->node_id);
    request.set_incarnation(absl::StrCat("incarnation-", process->number));
    wire::ClusterMap map;
    if (!state_->GetClusterMap(request, now_, &map).ok()) return;
    CheckMap(map);
    CheckTold(*process, map.term());
    if (map.term() <= process->term) return;
    process->older_term = process->term;
    process->older_rewind = process->rewind;
    process->term = map.term();
    process->rewind = map.rewind();
  }

  void Journal() {
    pending_ = state_->ToJournal(now_);
    pending_changes_ = state_->changes();
    durable_ = pending_;
    wire::JournalState journal;
    ASSERT_TRUE(journal.ParseFromString(durable_));
    durable_term_ = std::max(durable_term_, journal.map().term());
    if (journal.has_map()) CheckMap(journal.map());
    rewinds_ = std::max(rewinds_, journal.map().rewind());
  }
  void Announce() { state_->OnJournaled(pending_changes_); }
  void Crash() {
    ++crashes_;
    pending_changes_ = 0;
    Boot();
    if (durable_.empty()) return;
    const absl::Status status = state_->FromJournal(durable_, now_);
    ASSERT_TRUE(status.ok()) << status;
  }
  void AnswerRestore() {
    if (!state_->restore_wanted()) return;
    wire::Restore restore;
    restore.set_clock(Below(7));
    if (restore.clock() > 0) restore.set_folder("/checkpoints");
    state_->SetRestore(restore, {}, now_);
  }
  void Tick() {
    now_ += absl::Milliseconds(Below(300));
    state_->Tick(now_);
    if (Below(10) == 0) CheckHolders();
  }

  // The shards' servers are alive, or training waits for others.
  void CheckHolders() {
    wire::JournalState journal;
    ASSERT_TRUE(journal.ParseFromString(state_->ToJournal(now_)));
    if (!state_->waiting().empty() || !journal.has_map()) return;
    std::set<int32_t> alive;
    for (const wire::JournalNode& node : journal.nodes()) alive.insert(node.id());
    for (const wire::ServerEntry& server : journal.map().servers())
      ASSERT_EQ(alive.count(server.node_id()), 1u);
    for (const wire::WorkerEntry& worker : journal.map().workers())
      ASSERT_EQ(alive.count(worker.node_id()), 1u);
  }
  void CheckMap(const wire::ClusterMap& map) {
    ASSERT_TRUE(tessera::CheckMap(map, plan_.layout, plan_.job.train.replicas).ok())
        << map.ShortDebugString();
    const auto known = maps_.find(map.term());
    if (known == maps_.end()) {
      if (!maps_.empty()) {
        ASSERT_GT(map.term(), maps_.rbegin()->first) << "terms only grow";
        ASSERT_GE(map.rewind(), maps_.rbegin()->second.rewind());
      }
      maps_[map.term()] = map;
      return;
    }
    ASSERT_EQ(known->second.servers_size(), map.servers_size()) << "a term is one map";
    for (int i = 0; i < map.servers_size(); ++i) {
      ASSERT_EQ(known->second.servers(i).ShortDebugString(), map.servers(i).ShortDebugString());
    }
  }
  // `process` learns of `term`.
  void CheckTold(const Process& process, int64_t term) {
    ASSERT_LE(term, durable_term_) << "told before it was journaled";
    if (process.kind == wire::SERVER) return;
    ASSERT_EQ(maps_.count(term), 1u);
    for (const wire::ServerEntry& server : maps_[term].servers()) {
      ASSERT_EQ(adopted_[term].count(server.node_id()), 1u) << "a worker is told before " << server.index();
    }
  }

  std::mt19937 random_;
  const JobPlan plan_;
  absl::Time now_ = absl::UnixEpoch();
  std::unique_ptr<JobState> state_;
  std::vector<Process> processes_, gone_;
  int introduced_ = 0;
  std::set<int32_t> ids_;
  std::map<int64_t, wire::ClusterMap> maps_;      // by term
  std::map<int64_t, std::set<int32_t>> adopted_;  // by term: who said so
  std::string pending_, durable_;
  int64_t pending_changes_ = 0, durable_term_ = 0;
  int64_t rewinds_ = 0, crashes_ = 0;
};

TEST(RecoveryModel, KeepsItsPromisesWhateverHappens) {
  for (const uint32_t seed : {1u, 2u, 3u, 4u}) {
    Model model(seed);
    for (int event = 0; event < kEvents / 4 && !testing::Test::HasFatalFailure(); ++event) model.Step();
    ASSERT_FALSE(testing::Test::HasFailure()) << "seed " << seed;
    EXPECT_GT(model.maps_seen(), 20) << "seed " << seed;
    EXPECT_GT(model.rewinds_seen(), 5) << "seed " << seed;
    EXPECT_GT(model.crashes(), 5) << "seed " << seed;
  }
}

}  // namespace
}  // namespace tessera

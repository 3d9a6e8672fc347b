// A cluster of processes that come, leave, die, sleep and lie about the past, servers that hold versions of
// shards, forward and copy them, and a coordinator that is killed at any moment: whatever happens in whatever
// order, what docs/adr/0009-recovery.md and 0011-replication.md promise holds.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <utility>

#include "coordinator/cluster_plan.h"
#include "coordinator/job_state.h"
#include "tests/coordinator/test_job.h"

namespace tessera {
namespace {

constexpr int kEvents = 100'000;
constexpr int kCalmEvery = 4000;
constexpr int kMostProcesses = 10;
constexpr int64_t kLargestShard = 400 * sizeof(float);

JobPlan PlanOf(int32_t backups) {
  JobPlan plan = MakeTestPlan(3, 3);
  plan.job.cluster.server_backups = backups;
  plan.job.train.epochs = 100'000;  // it never ends
  plan.total_steps = plan.job.train.epochs * plan.steps_per_epoch;
  std::vector<ParameterBlock> blocks;
  for (const int64_t elements : {400, 300, 300, 100, 50, 10}) {
    const std::string layer = absl::StrCat("layer", blocks.size());
    blocks.push_back({layer, ParameterKind::kWeight, {{.name = layer + ".weight", .shape = {elements}}}});
  }
  plan.layout = *ShardLayout::Create(std::move(blocks), 1 << 20);
  return plan;
}

class Model {
 public:
  Model(uint32_t seed, int32_t backups) : random_(seed), plan_(PlanOf(backups)) { Boot(); }

  void Step() {
    now_ += absl::Milliseconds(Below(20));
    switch (Below(22)) {
      case 16:
      case 17:
      case 18:
        return Update();
      case 19:
        return Copy();
      case 20:
        return Below(40) == 0 ? Drain() : Update();
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

  // Nothing happens any more but what the coordinator wants: then all is as it is to be.
  void Quiet() {
    constexpr int kRounds = 200;
    for (Process& process : processes_) process.asleep_until = absl::InfinitePast();
    for (const wire::NodeKind kind : {wire::SERVER, wire::WORKER}) {
      if (Count(kind) > 0) continue;
      processes_.push_back({.number = ++introduced_, .kind = kind});
      Register(&processes_.back());
    }
    for (int round = 0; round < kRounds && !testing::Test::HasFatalFailure(); ++round) {
      now_ += absl::Milliseconds(100);
      Tick();
      Journal();
      Announce();
      AnswerRestore();
      const size_t known = processes_.size();
      for (size_t i = 0; i < processes_.size() && i < known; ++i) FetchMapOf(&processes_[i]);
      for (size_t i = 0; i < processes_.size(); ++i) CopyOf(&processes_[i]);
      for (size_t i = 0; i < processes_.size(); ++i) {
        BeatOf(&processes_[i], /*late=*/false);
        if (processes_.size() < known) break;  // it left
      }
    }
    if (!testing::Test::HasFatalFailure()) CheckBalance();
  }

  int64_t takeovers_seen() const { return takeovers_; }
  int64_t moves_seen() const { return moves_; }
  int64_t releases_seen() const { return releases_; }
  int64_t drained_seen() const { return drained_; }
  int64_t handovers_seen() const { return handovers_; }
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
    bool draining = false;
    // Of a server: the term that it says it has adopted, versions that it has in its rewind, and the copies
    // that are complete under its term, by (shard, node).
    int64_t told_term = 0, told_rewind = 0;
    std::map<ShardId, int64_t> versions;
    std::set<std::pair<ShardId, int32_t>> copied;
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
    *process = {.number = ++introduced_, .kind = process->kind, .draining = process->draining};
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
    request.set_draining(process.draining);
    if (term == process.term) request.set_newest_version(NewestOf(process));
    for (const auto& [shard, node] : process.copied) {
      if (term != process.term) break;
      wire::CopiedShard* const copy = request.add_copied();
      copy->set_shard(shard);
      copy->set_node_id(node);
    }
    const auto map = maps_.find(term);
    if (process.kind == wire::WORKER && map != maps_.end()) {
      const wire::WorkerEntry* const worker = FindWorker(map->second, process.node_id);
      for (const int32_t replica :
           worker == nullptr ? google::protobuf::RepeatedField<int32_t>() : worker->replicas()) {
        AddReplica(&request, replica, Below(7));
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
    if (!reply.may_leave()) return;
    ASSERT_TRUE(process->draining);
    ++drained_;
    LeaveNow(processes_.begin() + (process - processes_.data()));
  }
  void Beat() {
    Process* const process = Any();
    if (process == nullptr || process->node_id == 0 || now_ < process->asleep_until) return;
    if (Below(200) == 0) process->asleep_until = now_ + absl::Seconds(Below(6));
    BeatOf(process, Below(10) == 0);
  }
  void BeatOf(Process* process, bool late) {
    if (process->kind == wire::SERVER && process->told_term < process->term && BackupsHaveAll(process)) {
      process->told_term = process->term;
      process->told_rewind = process->rewind;
    }
    // It runs what it ran before until it has handed that over.
    const bool hands_over = process->kind == wire::WORKER && maps_[process->term].handover() > 0;
    if (process->kind == wire::WORKER && (!hands_over || Below(4) == 0)) {
      process->told_term = process->term;
      process->told_rewind = process->rewind;
    }
    const bool old = late && process->older_term <= process->told_term;
    Send(process, old ? Heartbeat(*process, process->older_term, process->older_rewind)
                      : Heartbeat(*process, process->told_term, process->told_rewind));
  }
  // A dead process's message arrives, or wakes.
  void Ghost() {
    if (gone_.empty()) return;
    const Process ghost = gone_[Below(gone_.size())];
    wire::HeartbeatReply reply;
    const absl::Status status =
        state_->Heartbeat(Heartbeat(ghost, ghost.told_term, ghost.told_rewind), now_, &reply);
    if (status.ok()) adopted_[ghost.told_term].insert(ghost.node_id);  // not declared dead yet
  }
  void Leave() {
    if (processes_.empty()) return;
    LeaveNow(processes_.begin() + Below(processes_.size()));
  }
  void LeaveNow(std::vector<Process>::iterator leaver) {
    wire::HeartbeatRequest request = Heartbeat(*leaver, leaver->told_term, leaver->told_rewind);
    request.set_leaving(true);
    wire::HeartbeatReply reply;
    state_->Heartbeat(request, now_, &reply).IgnoreError();
    processes_.erase(leaver);
  }

  // A node is asked to end.
  void Drain() {
    Process* const process = Any();
    if (process != nullptr) process->draining = true;
  }
  int64_t Count(wire::NodeKind kind) const {
    return std::count_if(processes_.begin(), processes_.end(), [kind](const Process& process) {
      return process.kind == kind && !process.draining;
    });
  }

  // What servers do with shards.

  // Null: it is not up, does not work with the map of `term`, or has gone.
  Process* Server(int32_t node_id, int64_t term) {
    for (Process& process : processes_) {
      const bool up = process.node_id == node_id && now_ >= process.asleep_until;
      if (up && process.term == term) return &process;
    }
    return nullptr;
  }
  static bool Lists(const google::protobuf::RepeatedField<int32_t>& list, ShardId shard) {
    return std::find(list.begin(), list.end(), shard) != list.end();
  }
  int64_t NewestOf(const Process& server) {
    const wire::ServerEntry* const entry = FindServer(maps_[server.term], server.node_id);
    int64_t newest = 0;
    if (server.kind == wire::WORKER || entry == nullptr) return newest;
    for (const ShardId shard : entry->shards()) {
      const auto version = server.versions.find(shard);
      if (version != server.versions.end()) newest = std::max(newest, version->second);
    }
    return newest;
  }
  // A primary applies an update and forwards it: it counts as released once all backups of its map have it.
  void Update() {
    Process* const primary = Any();
    if (primary == nullptr || primary->kind == wire::WORKER || now_ < primary->asleep_until) return;
    const wire::ClusterMap& map = maps_[primary->term];
    const wire::ServerEntry* const entry = FindServer(map, primary->node_id);
    if (entry == nullptr || entry->shards().empty()) return;
    if (told_workers_.count(primary->term) == 0) return;  // nobody pushes under it yet
    const ShardId shard = entry->shards(static_cast<int>(Below(entry->shards_size())));
    const int64_t version = primary->versions[shard] + Below(2);
    primary->versions[shard] = version;
    bool all = true;
    for (const wire::ServerEntry& other : map.servers()) {
      if (!Lists(other.backups(), shard)) continue;
      Process* const backup = Below(10) == 0 ? nullptr : Server(other.node_id(), primary->term);
      if (backup == nullptr) {
        all = false;
      } else {
        backup->versions[shard] = version;
      }
    }
    if (!all) return;
    ++releases_;
    int64_t& released = released_[{primary->rewind, shard}];
    released = std::max(released, version);
  }
  void Copy() {
    Process* const process = Any();
    if (process != nullptr && now_ >= process->asleep_until) CopyOf(process);
  }
  // A primary completes the copies that are asked of it.
  void CopyOf(Process* primary) {
    const auto map = maps_.find(primary->term);
    if (primary->kind == wire::WORKER || map == maps_.end()) return;
    const wire::ServerEntry* const entry = FindServer(map->second, primary->node_id);
    if (entry == nullptr) return;
    for (const wire::ServerEntry& other : map->second.servers()) {
      for (const ShardId shard : other.copies()) {
        if (!Lists(entry->shards(), shard)) continue;
        Process* const copy = Server(other.node_id(), primary->term);
        if (copy == nullptr) continue;
        copy->versions[shard] = primary->versions[shard];
        primary->copied.insert({shard, other.node_id()});
      }
    }
  }
  // Before a server says that it has adopted a map, the backups in it have what it released.
  bool BackupsHaveAll(Process* primary) {
    const wire::ClusterMap& map = maps_[primary->term];
    const wire::ServerEntry* const entry = FindServer(map, primary->node_id);
    if (entry == nullptr) return true;
    for (const wire::ServerEntry& other : map.servers()) {
      for (const ShardId shard : other.backups()) {
        if (!Lists(entry->shards(), shard) || released_.count({primary->rewind, shard}) == 0) continue;
        Process* const backup = Server(other.node_id(), primary->term);
        if (backup == nullptr) return false;
        backup->versions[shard] = std::max(backup->versions[shard], primary->versions[shard]);
      }
    }
    return true;
  }
  void AdoptShards(Process* server, const wire::ClusterMap& map) {
    server->copied.clear();
    const wire::ServerEntry* const entry = FindServer(map, server->node_id);
    const std::map<ShardId, int64_t> had = std::exchange(server->versions, {});
    if (entry == nullptr) return;
    const bool same = server->rewind == map.rewind();
    for (const auto* list : {&entry->shards(), &entry->backups(), &entry->copies()}) {
      for (const ShardId shard : *list) {
        const auto old = had.find(shard);
        server->versions[shard] = same && old != had.end() ? old->second : 0;
      }
    }
  }

  void FetchMap() {
    Process* const process = Any();
    if (process != nullptr && now_ >= process->asleep_until) FetchMapOf(process);
  }
  void FetchMapOf(Process* process) {
    wire::GetClusterMapRequest request;
    request.set_node_id(process->node_id);
    request.set_incarnation(absl::StrCat("incarnation-", process->number));
    wire::ClusterMap map;
    if (!state_->GetClusterMap(request, now_, &map).ok()) return;
    CheckMap(map);
    CheckTold(*process, map.term());
    if (process->kind == wire::WORKER) CheckHandover(map);
    if (map.term() <= process->term) return;
    process->older_term = process->told_term;
    process->older_rewind = process->told_rewind;
    if (process->kind == wire::SERVER) AdoptShards(process, map);
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
    if (journal.has_map() && !journal.handover_open()) {
      durable_handovers_[journal.map().term()] = journal.map().handover();
    }
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
    Watch([&] { state_->SetRestore(restore, {}, now_); });
  }
  void Tick() {
    now_ += absl::Milliseconds(Below(300));
    Watch([&] { state_->Tick(now_); });
    if (Below(10) == 0) CheckHolders();
  }

  wire::JournalState State() {
    wire::JournalState journal;
    EXPECT_TRUE(journal.ParseFromString(state_->ToJournal(now_)));
    return journal;
  }
  // What `change`, which may make a map, does to shards.
  template <typename Act>
  void Watch(const Act& change) {
    const wire::JournalState before = State();
    change();
    const wire::JournalState after = State();
    if (!before.has_map() || before.map().term() == after.map().term()) return;
    std::set<int32_t> alive;
    for (const wire::JournalNode& node : after.nodes()) alive.insert(node.id());
    for (const wire::ServerEntry& server : after.map().servers()) {
      ASSERT_EQ(alive.count(server.node_id()), 1U) << "a map names a dead server";
    }
    const std::vector<ShardPlan::Holders> was = HoldersOf(before.map(), plan_.layout);
    if (after.map().rewind() > before.map().rewind()) return CheckLoss(before, was, alive);
    CheckWorkers(before, after, alive);
    CheckHeirs(before.map(), was, after.map(), alive);
  }
  static std::string WorkersOf(const wire::ClusterMap& map) {
    std::string workers;
    for (const wire::WorkerEntry& worker : map.workers())
      absl::StrAppend(&workers, worker.ShortDebugString(), "; ");
    return workers;
  }
  // Replicas that all have a living worker are handed over, one handover after the other.
  void CheckWorkers(const wire::JournalState& before, const wire::JournalState& after,
                    const std::set<int32_t>& alive) {
    const auto& workers = before.map().workers();
    const bool live = std::all_of(workers.begin(), workers.end(), [&](const wire::WorkerEntry& worker) {
      return worker.replicas().empty() || alive.count(worker.node_id()) == 1;
    });
    const bool same = WorkersOf(before.map()) == WorkersOf(after.map());
    if (!live) {
      ASSERT_FALSE(after.handover_open()) << "handed over by the dead";
      ASSERT_EQ(after.map().handover(), 0);
    } else if (same) {
      ASSERT_TRUE(after.map().handover() == before.map().handover() || after.map().handover() == 0);
    } else {
      ASSERT_TRUE(after.handover_open());
      ++handovers_;
      for (const wire::WorkerEntry& worker : workers) {
        const bool has_come = adopted_[before.map().term()].count(worker.node_id()) == 1;
        ASSERT_TRUE(has_come || alive.count(worker.node_id()) == 0) << "in the midst of another handover";
      }
    }
  }
  // A worker hears of `map`.
  void CheckHandover(const wire::ClusterMap& map) {
    ASSERT_EQ(durable_handovers_.count(map.term()), 1U) << "told before it was journaled";
    ASSERT_EQ(durable_handovers_[map.term()], map.handover()) << "not what is in the journal";
    const auto [known, first] = told_workers_.emplace(map.term(), map.handover());
    ASSERT_EQ(known->second, map.handover()) << "a term has one handover";
    if (!first || map.handover() == 0 || NewestHandover(map)) return;
    for (const auto& [shard, version] : released_) {
      if (shard.first != map.rewind()) continue;
      ASSERT_LT(version + 2, map.handover()) << "shard " << shard.second;
    }
  }
  // Is it the one of the map before, that is not over?
  bool NewestHandover(const wire::ClusterMap& map) const {
    return std::any_of(told_workers_.begin(), told_workers_.end(), [&map](const auto& told) {
      return told.first < map.term() && told.second == map.handover();
    });
  }
  // A rewind: of some shard nobody is left who has all of it.
  void CheckLoss(const wire::JournalState& before, const std::vector<ShardPlan::Holders>& was,
                 const std::set<int32_t>& alive) {
    std::set<std::pair<ShardId, int32_t>> fresh;
    for (const wire::JournalShard& shard : before.shards()) {
      for (const int32_t node : shard.fresh()) fresh.insert({shard.shard(), node});
    }
    const auto lost = [&](ShardId shard) {
      const ShardPlan::Holders& holders = was[shard];
      return alive.count(holders.primary) == 0 &&
             std::none_of(holders.backups.begin(), holders.backups.end(), [&](int32_t backup) {
               return alive.count(backup) == 1 && fresh.count({shard, backup}) == 0;
             });
    };
    bool any = false;
    for (const Shard& shard : plan_.layout.shards()) any |= lost(shard.id);
    ASSERT_TRUE(any) << "a rewind, though no shard was lost";
  }
  // No rewind: who is a primary now has all that was ever released.
  void CheckHeirs(const wire::ClusterMap& before, const std::vector<ShardPlan::Holders>& was,
                  const wire::ClusterMap& after, const std::set<int32_t>& alive) {
    const std::vector<ShardPlan::Holders> is = HoldersOf(after, plan_.layout);
    for (const Shard& shard : plan_.layout.shards()) {
      const int32_t heir = is[shard.id].primary;
      const int32_t old = was[shard.id].primary;
      if (heir == old) continue;
      ++(alive.count(old) == 1 ? moves_ : takeovers_);
      const auto released = released_.find({before.rewind(), shard.id});
      const auto process = std::find_if(processes_.begin(), processes_.end(),
                                        [heir](const Process& each) { return each.node_id == heir; });
      if (released == released_.end() || process == processes_.end()) continue;
      ASSERT_EQ(process->rewind, after.rewind());
      ASSERT_GE(process->versions[shard.id], released->second) << "a primary without what was released";
    }
  }
  void CheckBalance() {
    const wire::JournalState state = State();
    ASSERT_EQ(state_->waiting(), "");
    EXPECT_EQ(state.map().workers_size(), Count(wire::WORKER));
    EXPECT_EQ(state.shards_size(), 0) << "fresh backups, or moves that do not end";
    const auto servers = static_cast<int>(Count(wire::SERVER));
    const int backups = std::min(plan_.job.cluster.server_backups, servers - 1);
    const int to_hold = static_cast<int>(plan_.layout.shards().size()) * (1 + backups);
    ASSERT_EQ(state.map().servers_size(), std::min(servers, to_hold)) << state.map().ShortDebugString();
    int64_t most = 0, least = std::numeric_limits<int64_t>::max();
    for (const wire::ServerEntry& server : state.map().servers()) {
      int64_t bytes = 0;
      for (const ShardId shard : server.shards()) bytes += plan_.layout.shards()[shard].bytes();
      most = std::max(most, bytes);
      least = std::min(least, bytes);
    }
    EXPECT_LE(most - least, kLargestShard);
    for (const ShardPlan::Holders& holders : HoldersOf(state.map(), plan_.layout)) {
      EXPECT_EQ(static_cast<int>(holders.backups.size()), backups);
      EXPECT_TRUE(holders.copies.empty());
    }
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
    for (const wire::WorkerEntry& worker : journal.map().workers()) {
      ASSERT_TRUE(worker.replicas().empty() || alive.count(worker.node_id()) == 1);
    }
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
  std::map<int64_t, int64_t> durable_handovers_;  // by term, as journaled once it was settled
  std::map<int64_t, int64_t> told_workers_;       // by term, as workers were told
  int64_t handovers_ = 0;
  std::string pending_, durable_;
  int64_t pending_changes_ = 0, durable_term_ = 0;
  std::map<std::pair<int64_t, ShardId>, int64_t> released_;  // by (rewind, shard): the newest version
  int64_t rewinds_ = 0, crashes_ = 0, takeovers_ = 0, moves_ = 0, releases_ = 0, drained_ = 0;
};

TEST(RecoveryModel, KeepsItsPromisesWhateverHappens) {
  int64_t moves = 0, handovers = 0;
  for (const uint32_t seed : {1U, 2U, 3U, 4U, 5U, 6U}) {
    const auto backups = static_cast<int32_t>(seed % 3);
    SCOPED_TRACE(absl::StrCat("seed ", seed, ", backups ", backups));
    Model model(seed, backups);
    for (int event = 1; event <= kEvents / 6 && !testing::Test::HasFatalFailure(); ++event) {
      model.Step();
      if (event % kCalmEvery == 0) model.Quiet();
    }
    ASSERT_FALSE(testing::Test::HasFailure());
    EXPECT_GT(model.maps_seen(), 20);
    EXPECT_GT(model.rewinds_seen(), 2);
    EXPECT_GT(model.crashes(), 5);
    moves += model.moves_seen();
    EXPECT_GT(model.releases_seen(), 100);
    EXPECT_GT(model.drained_seen(), 2);
    handovers += model.handovers_seen();
    EXPECT_GT(model.takeovers_seen(), backups > 0 ? 5 : -1);
  }
  EXPECT_GT(moves, 20);
  EXPECT_GT(handovers, 20);
}

}  // namespace
}  // namespace tessera

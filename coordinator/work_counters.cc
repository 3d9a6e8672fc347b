#include "coordinator/work_counters.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera {
namespace {

// What nodes report is not trusted: a sum beyond the range of its type stays at the end of it.
void AddTo(int64_t* sum, int64_t value) {
  if (__builtin_add_overflow(*sum, value, sum)) *sum = std::numeric_limits<int64_t>::max();
}

void Raise(int64_t* count, int64_t value) { *count = std::max(*count, value); }

// Whether the staleness of so many pushes, each >= 0, can add up to that.
bool IsPossible(const wire::ServerProgress& progress) {
  const bool none_negative = progress.staleness_pushes() >= 0 && progress.staleness_sum() >= 0 &&
                             progress.staleness_max() >= 0 && progress.clock_lead_max() >= 0;
  return none_negative && progress.staleness_max() <= progress.staleness_sum() &&
         static_cast<double>(progress.staleness_sum()) <=
             static_cast<double>(progress.staleness_pushes()) * static_cast<double>(progress.staleness_max());
}

absl::Status CheckServer(const Node& node, const wire::ServerProgress& progress) {
  if (node.introduction.role != NodeRole::kServer) {
    return absl::InvalidArgumentError("reports what only a server knows");
  }
  if (IsPossible(progress)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "reports ", progress.staleness_pushes(), " pushes of staleness ", progress.staleness_sum(), " in all, ",
      progress.staleness_max(), " at most, and a clock lead of ", progress.clock_lead_max()));
}

wire::JournalWork ToWire(const WorkDone& done) {
  wire::JournalWork work;
  work.set_pushed_bytes(done.pushed_bytes);
  work.set_pulled_bytes(done.pulled_bytes);
  work.set_shared_memory_bytes(done.shared_memory_bytes);
  work.set_training_seconds(done.training_seconds);
  work.set_retries(done.retries);
  return work;
}

WorkDone FromWire(const wire::JournalWork& work) {
  WorkDone done;  // nothing in it is negative
  done.RaiseTo({.pushed_bytes = work.pushed_bytes(),
                .pulled_bytes = work.pulled_bytes(),
                .shared_memory_bytes = work.shared_memory_bytes(),
                .training_seconds = work.training_seconds(),
                .retries = work.retries()});
  return done;
}

}  // namespace

void WorkDone::Add(const WorkDone& other) {
  AddTo(&pushed_bytes, other.pushed_bytes);
  AddTo(&pulled_bytes, other.pulled_bytes);
  AddTo(&shared_memory_bytes, other.shared_memory_bytes);
  training_seconds += other.training_seconds;
  AddTo(&retries, other.retries);
}

void WorkDone::RaiseTo(const WorkDone& other) {
  Raise(&pushed_bytes, other.pushed_bytes);
  Raise(&pulled_bytes, other.pulled_bytes);
  Raise(&shared_memory_bytes, other.shared_memory_bytes);
  training_seconds = std::max(training_seconds, other.training_seconds);
  Raise(&retries, other.retries);
}

absl::Status WorkCounters::Check(const Node& node, const wire::HeartbeatRequest& request) {
  const bool none_negative = request.pushed_bytes() >= 0 && request.pulled_bytes() >= 0 &&
                             request.shared_memory_bytes() >= 0 && request.retries() >= 0;
  if (!none_negative || !(request.training_seconds() >= 0) || std::isinf(request.training_seconds())) {
    return absl::InvalidArgumentError(
        absl::StrCat("reports ", request.pushed_bytes(), " bytes pushed, ", request.pulled_bytes(),
                     " pulled, ", request.shared_memory_bytes(), " through shared memory, ",
                     request.training_seconds(), " s of training, ", request.retries(), " retries"));
  }
  return request.has_server() ? CheckServer(node, request.server()) : absl::OkStatus();
}

void WorkCounters::Record(const Node& node, const wire::HeartbeatRequest& request, bool of_this_rewind) {
  if (node.introduction.role == NodeRole::kWorker) {
    workers_[node.id].index = node.index;
    workers_[node.id].done.RaiseTo({.pushed_bytes = request.pushed_bytes(),
                                    .pulled_bytes = request.pulled_bytes(),
                                    .shared_memory_bytes = request.shared_memory_bytes(),
                                    .training_seconds = request.training_seconds(),
                                    .retries = request.retries()});
    return;
  }
  const wire::ServerProgress& server = request.server();
  if (!request.has_server() || !of_this_rewind) return;
  if (server.staleness_pushes() < servers_[node.id].staleness_pushes) return;
  servers_[node.id] = {.staleness_pushes = server.staleness_pushes(),
                       .staleness_sum = server.staleness_sum(),
                       .staleness_max = server.staleness_max(),
                       .clock_lead_max = server.clock_lead_max()};
}

void WorkCounters::Retire(const Node& node) {
  const auto found = workers_.find(node.id);
  if (found == workers_.end()) return;
  past_[found->second.index].Add(found->second.done);
  workers_.erase(found);
}

std::map<int32_t, WorkDone> WorkCounters::ByIndex() const {
  std::map<int32_t, WorkDone> by_index = past_;
  for (const auto& [id, worker] : workers_) by_index[worker.index].Add(worker.done);
  return by_index;
}

WorkDone WorkCounters::Total() const {
  WorkDone total;
  for (const auto& [index, done] : ByIndex()) total.Add(done);
  return total;
}

WorkDone WorkCounters::OfIndex(int32_t index) const {
  const std::map<int32_t, WorkDone> by_index = ByIndex();
  const auto found = by_index.find(index);
  return found == by_index.end() ? WorkDone{} : found->second;
}

double WorkCounters::TrainingSeconds() const {
  double seconds = 0;
  for (const auto& [index, done] : ByIndex()) seconds = std::max(seconds, done.training_seconds);
  return seconds;
}

TransferCounters WorkCounters::Transfers() const {
  const WorkDone total = Total();
  TransferCounters sum{.pushed_bytes = total.pushed_bytes,
                       .pulled_bytes = total.pulled_bytes,
                       .shared_memory_bytes = total.shared_memory_bytes};
  for (const auto& [id, counters] : servers_) sum.Add(counters);
  return sum;
}

void WorkCounters::ToJournal(wire::JournalState* journal) const {
  for (const auto& [index, done] : past_) {
    wire::JournalWork* const work = journal->add_work();
    *work = ToWire(done);
    work->set_index(index);
  }
  for (wire::JournalNode& node : *journal->mutable_nodes()) {
    const auto found = workers_.find(node.id());
    if (found != workers_.end()) *node.mutable_work() = ToWire(found->second.done);
  }
}

void WorkCounters::FromJournal(const wire::JournalState& journal) {
  for (const wire::JournalWork& work : journal.work()) past_[work.index()].RaiseTo(FromWire(work));
  for (const wire::JournalNode& node : journal.nodes()) {
    if (node.has_work()) workers_[node.id()] = {node.index(), FromWire(node.work())};
  }
}

}  // namespace tessera

#include "worker/worker_progress.h"

#include "common/protocol.h"

namespace tessera {
namespace {

void AddReplica(const ReplicaTotals& totals, wire::HeartbeatRequest* request) {
  wire::ReplicaProgress* replica = request->add_replicas();
  replica->set_replica(totals.replica);
  replica->set_first_clock(totals.first_clock);
  replica->set_clock(totals.clock);
  replica->set_epoch(totals.current.epoch);
  replica->set_loss_sum(totals.current.loss_sum);
  replica->set_loss_count(totals.current.minibatches);
  replica->set_correct(totals.current.correct);
  replica->set_last_epoch(totals.last.epoch);
  replica->set_last_loss_sum(totals.last.loss_sum);
  replica->set_last_loss_count(totals.last.minibatches);
  replica->set_last_correct(totals.last.correct);
  replica->set_dropped(totals.dropped);
}

}  // namespace

void WorkerProgress::Begin(const Session& session) {
  MutexLock lock(&mutex_);
  session_ = session;
}

void WorkerProgress::End() {
  MutexLock lock(&mutex_);
  ended_ = SumsLocked();
  if (session_.trainer != nullptr) {
    recomputed_ = RecomputedLocked(session_.rewind);
    recomputed_rewind_ = session_.rewind;
  }
  session_ = {};
}

WorkerProgress::Sums WorkerProgress::SumsLocked() const {
  Sums sums = ended_;
  if (session_.trainer != nullptr) {
    const TrainerProgress progress = session_.trainer->progress();
    sums.training_seconds += progress.training_seconds;
  }
  if (session_.client != nullptr) {
    sums.pushed_bytes += session_.client->pushed_bytes();
    sums.pulled_bytes += session_.client->pulled_bytes();
    sums.retries += session_.client->retries();
  }
  if (session_.outbox != nullptr) sums.shared_memory_bytes += session_.outbox->shared_bytes();
  return sums;
}

std::set<Clock> WorkerProgress::RecomputedLocked(int64_t rewind) const {
  std::set<Clock> clocks;
  if (recomputed_rewind_ == rewind) clocks = recomputed_;
  if (session_.trainer != nullptr && session_.rewind == rewind)
    clocks.merge(session_.trainer->progress().recomputed);
  while (clocks.size() > kMostRecomputed) clocks.erase(clocks.begin());
  return clocks;
}

void WorkerProgress::Fill(wire::HeartbeatRequest* request) const {
  MutexLock lock(&mutex_);
  if (session_.trainer != nullptr && session_.rewind == request->rewind()) {
    for (const ReplicaTotals& totals : session_.trainer->progress().replicas) AddReplica(totals, request);
  }
  for (const Clock clock : RecomputedLocked(request->rewind())) request->add_recomputed(clock);
  const Sums sums = SumsLocked();
  request->set_training_seconds(sums.training_seconds);
  request->set_pushed_bytes(sums.pushed_bytes);
  request->set_pulled_bytes(sums.pulled_bytes);
  request->set_shared_memory_bytes(sums.shared_memory_bytes);
  request->set_retries(sums.retries);
}

}  // namespace tessera

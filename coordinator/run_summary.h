// What a run leaves behind for people and programs: summary.json. Plain data and its text; no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/types.h"
#include "coordinator/job_progress.h"

namespace tessera {

// Something worth telling: who, what, when. The message says what was noticed after how long, and what was
// done.
//   join, leave, death     of a node; death also when whoever started it saw it end
//   takeover               a worker runs replicas that it did not run before; a backup has a lost primary's
//   shards drain                  a node is to leave, and waits until others have what it holds or runs
//   handover               replicas change workers at a clock agreed on, and nothing is computed again
//   moved                  shards that were copied, or moved to another primary, while training went on
//   rewind                 everybody began anew, from a checkpoint or the start
//   parked                 training waits for a node, and goes on when one comes
//   resumed                the first progress after any of these: how long training stood still
//   checkpoint, checkpoint failed
//   restart                of the coordinator
//   failure                of the job, or of a node that had not begun
//   warning, stop
struct JobEvent {
  std::string what;
  std::string who;  // "server 1", or the job's name
  std::string message;
  absl::Time when;
  int64_t pid = 0;  // 0: no process
};

// "2026-11-21T04:14:51.123Z".
std::string FormatEventTime(absl::Time when);

// What servers counted, summed over them.
struct TransferCounters {
  int64_t pushed_bytes = 0;  // tensor bytes, workers to servers
  int64_t pulled_bytes = 0;
  int64_t shared_memory_bytes = 0;  // of both, those that went through shared memory
  int64_t staleness_pushes = 0;
  int64_t staleness_sum = 0;
  int64_t staleness_max = 0;
  std::vector<int64_t> staleness_histogram;  // [s] = pushes of staleness s; empty: not known
  int64_t clock_lead_max = 0;
  // By replica, the smallest and the largest number of its minibatches that a shard has applied; empty: not
  // known.
  std::vector<int64_t> applied_min, applied_max;
  int64_t dropped = 0;  // minibatches of single replicas that rounds were closed without, over all shards

  void Add(const TransferCounters& other);
  double StalenessMean() const;  // 0 without pushes
  // The smallest staleness that at least `quantile` (0..1) of the pushes do not exceed; 0 without pushes.
  int64_t StalenessQuantile(double quantile) const;
};

struct RunSummary {
  std::string job;
  uint64_t seed = 0;
  std::string status;   // "done", "failed", "stopped"
  std::string message;  // why it failed or stopped
  std::string mode;
  int32_t replicas = 0;
  int32_t batch_size = 0;
  int32_t workers = 0;  // alive at the end
  int32_t servers = 0;
  Clock steps = 0;
  double images_per_second = 0;
  double wall_seconds = 0;
  std::optional<int64_t> updates_per_shard;  // known once the weights were collected
  std::string weights_digest;
  TransferCounters counters;
  int64_t staleness_bound = 0;  // in versions; negative: none
  int64_t dropped = 0;          // minibatches that a replica jumped over, or that a shard dropped
  // By replica: images that counted over the training seconds of its worker.
  std::vector<double> replica_images_per_second;
  std::vector<EpochHistory> history;
  std::optional<Clock> resumed_from_step;  // the run was resumed as a whole, from there
  int64_t recomputed_steps = 0;            // as RecomputedSteps counts
  int64_t retries = 0;                     // messages that workers sent again
  int64_t rewinds = 0;
  std::vector<JobEvent> events;
};

// JSON with the fields of DESIGN.md section 8. Numbers that are not known, those that are not finite and a
// bound that there is not are null. coordinator/README.md lists the fields of the modes.
std::string FormatSummary(const RunSummary& summary);

}  // namespace tessera

// What people see of a running job, made from the coordinator's status. Pure functions and one small memory.
#pragma once

#include <string>
#include <vector>

#include "cli/text.h"
#include "proto/coordinator_service.pb.h"

namespace tessera::cli {

// "epoch 3/5  train loss 0.3121  test accuracy 0.8931  test loss 0.2911  5,012 images/s  41 s"; no test
// columns without a test set. The time is since the first step.
std::string EpochLine(const wire::JobStatus& status, const wire::EpochResult& epoch);

// "epoch 3/5  step 493/1,170  loss 0.3121  5,012 images/s  41 s to go", or the phase's words outside
// training.
std::string ProgressLine(const wire::JobStatus& status);

// What replicas that do not keep step show: "staleness 2.1, max 9 of 21  clock lead 3  replicas 301 to 1,204
// images/s" on one line, or "dropped 12 minibatches  replicas ..." in sync. "" before the start, and in sync
// as long as none was dropped.
std::string ModeLine(const wire::JobStatus& status);

// What a run that met faults, or whose shards move, shows: "1 copy under way  recomputed 12 steps  newest
// checkpoint at step 40". "" where there is nothing of it.
std::string RecoveryLine(const wire::JobStatus& status);

// The lines of a live view, at most `width` columns each: job, bar, figures, ModeLine and RecoveryLine (where
// there are), what training is parked for, nodes.
std::vector<std::string> LiveFrame(const wire::JobStatus& status, const TextStyle& style, int width);

// The tables of `tessera status`.
std::vector<std::string> StatusPage(const wire::JobStatus& status, const TextStyle& style);

// "waiting for nodes", "running", ...
std::string PhaseName(wire::Phase phase);

// Remembers which lasting lines (an epoch's end, a warning, a recovery) were handed out. A job that goes
// back, or a coordinator that was started again, may have fewer than before: those that then come are new.
// Not thread-safe.
class ProgressNews {
 public:
  // Those that are new in `status`, in order.
  std::vector<std::string> Take(const wire::JobStatus& status);

 private:
  int epochs_ = 0;
  int events_ = 0;
};

}  // namespace tessera::cli

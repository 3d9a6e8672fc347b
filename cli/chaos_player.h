// Plays a plan of faults: says which are due, and remembers what was done to whom. A pure state machine:
// steps and times are passed in.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/chaos_plan.h"

namespace tessera::cli {

// A fault that was injected.
struct Injection {
  std::string fault;  // its text in the plan
  std::string node;   // "server:1"; "all" for faults of the network
  int64_t pid = 0;    // 0: no single process
  int64_t step = 0;   // at which it was; at least the plan's
  absl::Time when;
};

// Not thread-safe.
class ChaosPlayer {
 public:
  explicit ChaosPlayer(const ChaosPlan& plan);

  // Whether faults still wait for their steps.
  bool pending() const;
  // Indices of the faults that are due at `step`, in the plan's order. A kill waits until its process runs
  // (`alive`), a stop also until it is not stopped.
  std::vector<size_t> Due(int64_t step, const std::function<bool(const Place&)>& alive) const;
  const ChaosFault& fault(size_t index) const { return faults_[index]; }

  // What was done to process `pid`.
  void OnInjected(size_t index, int64_t pid, int64_t step, absl::Time now);
  // A fault without a step, which begins with the run.
  void OnInjected(const Injection& injection) { injections_.push_back(injection); }

  // Whether the process of `place` was killed by the plan, which starts it again later.
  bool Holds(const Place& place) const;
  // Whether the plan has stopped the process of `place`.
  bool Stopped(const Place& place) const;
  // A stopped process that is to go on.
  struct Wake {
    Place place;
    int64_t pid = 0;
    absl::Time when;
  };
  // Those that are to go on now; each once.
  std::vector<Wake> TakeWakes(absl::Time now);
  absl::Time NextWake() const;  // InfiniteFuture: none

  // When the step has not grown for `patience`, and cannot, since a node is dead until a later step: says so
  // in one line. To be called with each step seen.
  std::optional<std::string> Stalled(int64_t step, absl::Duration patience, absl::Time now);

  // The texts of the faults that were never injected.
  std::vector<std::string> Unfired() const;
  const std::vector<Injection>& injections() const { return injections_; }

 private:
  // The next restart of `place` that waits, or null.
  const ChaosFault* RestartOf(const Place& place) const;

  const std::vector<ChaosFault> faults_;
  std::vector<bool> fired_;
  std::vector<Place> held_;
  std::vector<Wake> wakes_;
  std::vector<Injection> injections_;
  int64_t highest_step_ = -1;
  absl::Time progress_ = absl::InfinitePast();  // when the step last grew, or a fault was injected
};

}  // namespace tessera::cli

// Injects a plan's faults into a cluster on this machine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cli/chaos_player.h"
#include "cli/local_cluster.h"
#include "cli/server_clients.h"
#include "cli/step_watch.h"
#include "proto/coordinator_service.pb.h"

namespace tessera::cli {

// What is to be done with a process that has ended.
enum class AfterExit {
  kSupervise,  // the plan does not say
  kHold,       // nothing: the plan starts it later
  kStart       // start it now
};

// Not thread-safe. Has a thread while faults wait for their steps; joins it.
class ChaosInjector {
 public:
  // `patience`: how long training may stand still while the plan keeps a node dead. `cluster` must outlive
  // this.
  ChaosInjector(const ChaosPlan& plan, LocalCluster* cluster, absl::Duration patience);

  // Starts to watch the servers' steps, once the cluster's processes have been started. Errors: kUnavailable.
  absl::Status Start();
  // Learns where the servers are.
  void OnStatus(const wire::JobStatus& status);

  // Injects what is due, and tells each as a line. Returns the processes to be started now.
  std::vector<size_t> Play(absl::Time now, const std::function<void(const std::string&)>& tell);
  AfterExit OnExit(size_t process);
  // The plan keeps it from answering.
  bool Stopped(size_t process) const;

  // Ends those that the plan has stopped: the run is over.
  void KillStopped();

  // Readable when Play() may have something to do; -1 when only its time can come.
  int fd() const { return steps_ == nullptr ? -1 : steps_->fd(); }
  absl::Time NextPlay() const { return player_.NextWake(); }
  // Why the plan cannot be played to its end, in one line.
  const std::optional<std::string>& failure() const { return failure_; }
  const ChaosPlayer& player() const { return player_; }

 private:
  void RecordFromStart(absl::Time now);
  bool Alive(const Place& place);
  void InjectDue(int64_t step, absl::Time now, std::vector<size_t>* to_start,
                 const std::function<void(const std::string&)>& tell);
  // Whether the process is to be started now.
  bool Inject(const ChaosFault& fault);
  void Wake(absl::Time now);

  const ChaosPlan plan_;
  LocalCluster* const cluster_;
  const absl::Duration patience_;
  ChaosPlayer player_;
  std::set<size_t> dying_;       // killed by the plan, not yet seen to end
  std::set<size_t> restarting_;  // of them, those to be started then
  std::optional<std::string> failure_;
  ServerClients servers_;  // of the thread
  std::unique_ptr<StepWatch> steps_;
};

}  // namespace tessera::cli

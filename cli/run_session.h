// One run of a local cluster: started, shown, watched, kept running, and stopped whatever happens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/chaos_injector.h"
#include "cli/console.h"
#include "cli/coordinator_client.h"
#include "cli/local_cluster.h"
#include "cli/progress_view.h"
#include "cli/run_watch.h"
#include "cli/signal_watch.h"
#include "cli/status_poller.h"
#include "cli/supervision.h"

namespace tessera::cli {

struct SessionOptions {
  absl::Duration lease;           // of the job
  bool restart = true;            // what dies is started again
  std::optional<ChaosPlan> plan;  // of faults
};

// How a session ended.
struct SessionEnd {
  int signal = 0;      // that interrupted it, or 0
  RunOutcome outcome;  // without a signal
};

// Not thread-safe; to be used from the main thread. When Run() returns, or the session is destroyed, no
// process of the cluster is left. A first signal ends the job in order, a second one kills it.
class RunSession {
 public:
  // `signals` must outlive the session.
  RunSession(ClusterOptions cluster, SessionOptions options, SignalWatch* signals, const Console& console);

  // Blocks until the run is over. A failure is told on the console as soon as it is known.
  SessionEnd Run();

  // Of a traced cluster: where its nodes have left their traces; after Run().
  std::vector<TracePart> trace_parts() const { return cluster_.trace_parts(); }
  // Of a plan of faults: what was injected, and the texts of those that were not; after Run().
  std::vector<Injection> injections() const;
  std::vector<std::string> unfired() const;

 private:
  // Nothing when interrupted.
  std::optional<RunOutcome> Start();
  std::optional<RunOutcome> Supervise();
  void TakeExits();
  void TakeExit(size_t process);
  void TakeStatus(const wire::JobStatus& status);
  void PlayChaos();
  void StartDue();
  void StartAgain(size_t process);
  // `unanswered`: questions in a row that the coordinator has not answered.
  void CheckSilence(int unanswered);
  absl::Duration TimeToNextCheck() const;
  SessionEnd Finish(const RunOutcome& outcome);
  SessionEnd Interrupt();
  void TerminateNodes();
  // The children get SIGTERM after `voluntary`, SIGKILL after `terminate` more, or at once when yet another
  // signal comes.
  void StopAll(absl::Duration voluntary, absl::Duration terminate);
  int CountSignals();
  Process& coordinator() { return cluster_.processes()->process(LocalCluster::kCoordinator); }

  const std::string run_folder_;
  const SessionOptions options_;
  SignalWatch* const signals_;
  const Console& console_;
  LocalCluster cluster_;
  Supervision supervision_;
  std::unique_ptr<ProgressView> view_;
  RunWatch watch_;
  std::optional<ChaosInjector> chaos_;       // with a plan
  std::optional<CoordinatorClient> client_;  // once its address is known
  std::unique_ptr<StatusPoller> poller_;     // asks through client_
  absl::Time last_answer_;                   // the coordinator's, or when it was started
  absl::Time answer_due_;                    // a coordinator that has not answered until then is killed
  bool silent_ = false;                      // that is why it ends
  bool named_ = false;                       // the job runs, and the processes have the coordinator's names
  int signals_seen_ = 0;
  int first_signal_ = 0;
};

}  // namespace tessera::cli

// One run of a local cluster: started, shown, watched, and stopped whatever happens.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/console.h"
#include "cli/local_cluster.h"
#include "cli/progress_view.h"
#include "cli/run_watch.h"
#include "cli/signal_watch.h"

namespace tessera::cli {

// How a session ended.
struct SessionEnd {
  int signal = 0;      // that interrupted it, or 0
  RunOutcome outcome;  // without a signal
};

// Not thread-safe; to be used from the main thread. When Run() returns, or the session is destroyed, no
// process of the cluster is left. A first signal ends the job in order, a second one kills it.
class RunSession {
 public:
  // `lease`: of the job. `signals` must outlive the session.
  RunSession(ClusterOptions cluster, absl::Duration lease, SignalWatch* signals, const Console& console);

  // Blocks until the run is over. A failure is told on the console as soon as it is known.
  SessionEnd Run();

  // Of a traced cluster: where its nodes have left their traces; after Run().
  std::vector<TracePart> trace_parts() const { return cluster_.trace_parts(); }

 private:
  // Nothing when interrupted.
  std::optional<RunOutcome> Start();
  std::optional<RunOutcome> Supervise();
  void TakeExits();
  void TakeStatus(const wire::JobStatus& status);
  // `unanswered`: questions in a row that the coordinator has not answered.
  void CheckSilence(int unanswered);
  void BelieveSilence();
  absl::Duration TimeToNextCheck() const;
  SessionEnd Finish(const RunOutcome& outcome);
  SessionEnd Interrupt();
  void TerminateNodes();
  // The children get SIGTERM after `voluntary`, SIGKILL after `terminate` more, or at once when yet another
  // signal comes.
  void StopAll(absl::Duration voluntary, absl::Duration terminate);
  int CountSignals();

  const std::string run_folder_;
  const absl::Duration lease_;
  SignalWatch* const signals_;
  const Console& console_;
  LocalCluster cluster_;
  std::unique_ptr<ProgressView> view_;
  RunWatch watch_;
  absl::Time last_answer_ = absl::InfiniteFuture();  // the coordinator's; InfiniteFuture before the first
  bool named_ = false;  // the job runs, and the processes have the coordinator's names
  int signals_seen_ = 0;
  int first_signal_ = 0;
};

}  // namespace tessera::cli

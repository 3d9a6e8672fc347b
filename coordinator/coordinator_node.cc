#include "coordinator/coordinator_node.h"

#include <spdlog/spdlog.h>
#include <string.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/file.h"
#include "common/run_folder.h"
#include "common/status.h"
#include "coordinator/checkpoint_store.h"
#include "coordinator/coordinator.h"
#include "coordinator/coordinator_service.h"
#include "coordinator/journal.h"
#include "coordinator/model_collector.h"

namespace tessera {
namespace {

// For the last answers to leave.
constexpr absl::Duration kShutdownGrace = absl::Milliseconds(200);

absl::Status MakeFolder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot make the folder ", folder, ": ", error.message()));
}

absl::Status WriteAddress(const std::string& folder, const std::string& address) {
  const std::string line = address + "\n";
  return WriteFileAtomically(folder + "/coordinator",
                             {{reinterpret_cast<const uint8_t*>(line.data()), line.size()}});
}

// Holds the lock of runs/<job's name> as long as the job runs.
absl::Status RunInOwnFolder(JobPlan plan, CoordinatorNodeOptions options, SignalWatcher* signals) {
  TESSERA_ASSIGN_OR_RETURN(const RunFolder folder, options.resume
                                                       ? RunFolder::Reopen(kRunsFolder, plan.job.name)
                                                       : RunFolder::Create(kRunsFolder, plan.job.name));
  if (!folder.moved_to().empty()) spdlog::info("the earlier run is now in {}", folder.moved_to());
  options.run_folder = folder.path();
  return RunCoordinatorNode(std::move(plan), options, signals);
}

// Where the job's checkpoints go.
absl::StatusOr<std::string> CheckpointFolder(const JobPlan& plan, const std::string& run_folder) {
  const std::string& dir = plan.job.checkpoint.dir;
  std::error_code error;
  const std::filesystem::path path =
      std::filesystem::absolute(dir.empty() ? CheckpointsFolder(run_folder) : dir, error);
  if (error)
    return absl::UnavailableError(absl::StrCat("cannot find the folder ", dir, ": ", error.message()));
  return path.lexically_normal().string();
}

// What the journal has; nothing when the run is new, or has none.
absl::StatusOr<std::optional<std::string>> LoadJournal(Journal* journal, bool resume) {
  if (!resume) return std::nullopt;
  absl::StatusOr<std::optional<std::string>> state = journal->Load();
  const std::string news = journal->TakeNews();
  if (!news.empty()) spdlog::warn("{}", news);
  if (state.ok() && !state->has_value()) {
    spdlog::warn("there is no journal to resume from: the newest checkpoint counts, if there is one");
  }
  return state;
}

// The rest of RunCoordinatorNode, once the job is known to have something to do.
absl::Status Serve(Coordinator* coordinator, const std::string& job, const CoordinatorNodeOptions& options,
                   SignalWatcher* signals) {
  CoordinatorService service(coordinator);
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<Listener> listener,
                           Listener::Start(options.listen, {&service}));
  TESSERA_RETURN_IF_ERROR(WriteAddress(options.run_folder, listener->address()));
  spdlog::info("job {}: the coordinator listens on {}", job, listener->address());
  signals->Watch(
      [&](int signal) { coordinator->RequestStop(absl::StrCat("stopped by SIG", sigabbrev_np(signal))); });
  const absl::Status status = coordinator->Run();
  signals->Watch({});
  listener->Shutdown(kShutdownGrace);
  return status;
}

}  // namespace

std::string AddressOfPredecessor(const std::string& folder) {
  std::ifstream file(AddressFile(folder));
  std::string address;
  std::getline(file, address);
  return address;
}

absl::Status RunCoordinatorNode(JobPlan plan, const CoordinatorNodeOptions& options, SignalWatcher* signals) {
  if (options.run_folder.empty()) return RunInOwnFolder(std::move(plan), options, signals);
  const std::string job = plan.job.name;
  const absl::Duration patience = std::max(plan.job.cluster.lease, absl::Seconds(3));
  TESSERA_RETURN_IF_ERROR(MakeFolder(options.run_folder));
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<Journal> journal,
                           Journal::Open(options.run_folder + "/journal"));
  TESSERA_ASSIGN_OR_RETURN(const std::optional<std::string> state,
                           LoadJournal(journal.get(), options.resume));
  if (state.has_value() && JobState::WasDone(*state)) {
    spdlog::info("job {} is done already: nothing is left to do", job);
    return absl::OkStatus();
  }
  TESSERA_ASSIGN_OR_RETURN(const std::string checkpoints, CheckpointFolder(plan, options.run_folder));
  TESSERA_RETURN_IF_ERROR(CheckCheckpointFolder(plan, checkpoints, options.resume));
  TESSERA_ASSIGN_OR_RETURN(const std::string probe, WriteProbe(checkpoints));
  const CheckpointSpec& spec = plan.job.checkpoint;
  const bool by_time = spec.unit == CheckpointSpec::Unit::kTime;
  CoordinatorOptions run;
  run.run_folder = options.run_folder;
  run.collect = RpcModelCollector(patience);
  run.state = {.resume = options.resume && !state.has_value(),
               .checkpoint_folder = checkpoints,
               .checkpoint_probe = probe,
               .checkpoint_every = by_time ? spec.time : absl::ZeroDuration()};
  run.save_journal = [&journal](absl::string_view bytes) { return journal->Save(bytes); };
  run.checkpoints = DiskCheckpoints(plan, checkpoints, run.now);
  Coordinator coordinator(std::move(plan), run);
  if (state.has_value()) TESSERA_RETURN_IF_ERROR(coordinator.Resume(*state));
  return Serve(&coordinator, job, options, signals);
}

}  // namespace tessera

#include "coordinator/coordinator_node.h"

#include <spdlog/spdlog.h>
#include <string.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/run_folder.h"
#include "common/status.h"
#include "coordinator/coordinator.h"
#include "coordinator/coordinator_service.h"
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
  TESSERA_ASSIGN_OR_RETURN(const RunFolder folder, RunFolder::Create(kRunsFolder, plan.job.name));
  if (!folder.moved_to().empty()) spdlog::info("the earlier run is now in {}", folder.moved_to());
  options.run_folder = folder.path();
  return RunCoordinatorNode(std::move(plan), options, signals);
}

}  // namespace

absl::Status RunCoordinatorNode(JobPlan plan, const CoordinatorNodeOptions& options, SignalWatcher* signals) {
  if (options.run_folder.empty()) return RunInOwnFolder(std::move(plan), options, signals);
  const std::string job = plan.job.name;
  const absl::Duration patience = std::max(plan.job.cluster.lease, absl::Seconds(3));
  TESSERA_RETURN_IF_ERROR(MakeFolder(options.run_folder));
  Coordinator coordinator(std::move(plan),
                          {.run_folder = options.run_folder, .collect = RpcModelCollector(patience)});
  CoordinatorService service(&coordinator);
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<Listener> listener,
                           Listener::Start(options.listen, {&service}));
  TESSERA_RETURN_IF_ERROR(WriteAddress(options.run_folder, listener->address()));
  spdlog::info("job {}: the coordinator listens on {}", job, listener->address());
  signals->Watch(
      [&](int signal) { coordinator.RequestStop(absl::StrCat("stopped by SIG", sigabbrev_np(signal))); });
  const absl::Status status = coordinator.Run();
  signals->Watch({});
  listener->Shutdown(kShutdownGrace);
  return status;
}

}  // namespace tessera

#include "cli/target.h"

#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "cli/local_cluster.h"
#include "common/run_folder.h"
#include "common/status.h"
#include "config/job_loader.h"

namespace tessera::cli {
namespace {

// "" where there is none.
std::string ReadAddress(const std::string& folder) {
  std::ifstream file(AddressFile(folder));
  std::string address;
  std::getline(file, address);
  return address;
}

bool IsFolder(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

}  // namespace

absl::StatusOr<Target> ResolveTarget(const std::string& target, const std::string& coordinator) {
  if (target.empty() == coordinator.empty()) {
    return absl::InvalidArgumentError("give a job file, a run folder or --coordinator HOST:PORT");
  }
  if (!coordinator.empty()) {
    TESSERA_RETURN_IF_ERROR(PortOf(coordinator).status());
    return Target{.address = coordinator};
  }
  if (IsFolder(target)) {
    const std::string address = ReadAddress(target);
    if (!address.empty()) return Target{.address = address, .folder = target};
    return absl::InvalidArgumentError(absl::StrCat(target, " is not the folder of a run that has started"));
  }
  TESSERA_ASSIGN_OR_RETURN(const JobSpec job, LoadJobFile(target, {}));
  const std::string folder = absl::StrCat(kRunsFolder, "/", job.name);
  const std::string address = ReadAddress(folder);
  if (!address.empty()) return Target{.address = address, .folder = folder};
  return Target{.address = job.cluster.coordinator, .job = job.name};
}

}  // namespace tessera::cli

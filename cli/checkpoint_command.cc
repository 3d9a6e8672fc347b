#include "cli/checkpoint_command.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/checkpoint_wait.h"
#include "cli/coordinator_client.h"
#include "cli/exit_codes.h"
#include "cli/running_job.h"
#include "cli/target.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/checkpoint/checkpoint_model.h"
#include "common/run_folder.h"
#include "common/safetensors.h"
#include "common/status.h"
#include "common/units.h"

namespace tessera::cli {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kPollInterval = absl::Milliseconds(200);

int Complain(const Console& console, const absl::Status& status, int code) {
  console.Error(status.message());
  return code;
}

// Whether the run is there to be asked.
absl::Status CheckRuns(const Target& target, CoordinatorClient* client) {
  if (const std::optional<Summary> summary = SummaryOf(target)) {
    return absl::FailedPreconditionError(absl::StrCat("job `", summary->job, "` is over already"));
  }
  return AskRunningJob(target, client).status();
}

absl::StatusOr<wire::JobStatus> TakeAndAwait(const Target& target, absl::Duration timeout) {
  CoordinatorClient client(target.address);
  TESSERA_RETURN_IF_ERROR(CheckRuns(target, &client));
  TESSERA_ASSIGN_OR_RETURN(const int64_t clock, client.TakeCheckpoint());
  return AwaitCheckpoint([&client] { return client.GetStatus(); }, clock, timeout, kPollInterval);
}

bool IsFolder(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool IsCheckpoint(const std::string& path) {
  std::error_code error;
  return fs::exists(absl::StrCat(path, "/", kManifestName), error);
}

absl::Status CheckFolder(const std::string& folder) {
  return IsFolder(folder) ? absl::OkStatus()
                          : absl::InvalidArgumentError(absl::StrCat("there is no folder ", folder));
}

// Where a run has its checkpoints, or `folder` itself.
std::string FolderOfCheckpoints(const std::string& folder) {
  const std::string of_run = CheckpointsFolder(folder);
  return IsFolder(of_run) ? of_run : folder;
}

// A folder that ListCheckpoints would list, but that has no manifest: verified as what it is named.
bool IsNamedAsCheckpoint(const std::string& folder) {
  const fs::path path = fs::path(folder).lexically_normal();
  const fs::path name = path.has_filename() ? path.filename() : path.parent_path().filename();
  return name.string().rfind("step-", 0) == 0;
}

int64_t BytesOf(const CheckpointManifest& manifest) {
  int64_t bytes = 0;
  for (const CheckpointFileInfo& file : manifest.files) bytes += file.bytes;
  return bytes;
}

std::string FilesText(const CheckpointManifest& manifest) {
  const size_t files = manifest.files.size();
  return absl::StrCat(files, files == 1 ? " file" : " files", ", ", FormatSize(BytesOf(manifest)));
}

std::string TableRow(const std::string& step, const std::string& time, const std::string& files,
                     const std::string& size, const std::string& state) {
  return absl::StrFormat("%12s  %-20s  %5s  %10s  %s", step, time, files, size, state);
}

std::string TableRow(const CheckpointEntry& entry) {
  const std::string step = absl::StrCat(entry.clock);
  if (absl::IsNotFound(entry.manifest.status())) return TableRow(step, "-", "-", "-", "not finished");
  if (!entry.manifest.ok()) {
    return TableRow(step, "-", "-", "-", absl::StrCat("damaged: ", entry.manifest.status().message()));
  }
  const CheckpointManifest& manifest = *entry.manifest;
  return TableRow(step, absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", manifest.created, absl::UTCTimeZone()),
                  absl::StrCat(manifest.files.size()), FormatSize(BytesOf(manifest)), "complete");
}

// Whether it is whole; says either.
bool VerifyOne(const std::string& path, const Console& console) {
  const absl::StatusOr<CheckpointManifest> manifest = VerifyCheckpoint(path);
  if (!manifest.ok()) {
    console.Error(manifest.status().message());
    return false;
  }
  console.Line(absl::StrCat(path, ": whole: step ", manifest->clock, ", ", FilesText(*manifest)));
  return true;
}

int VerifyAll(const std::string& dir, const Console& console) {
  const absl::StatusOr<std::vector<CheckpointEntry>> entries = ListCheckpoints(dir);
  if (!entries.ok()) return Complain(console, entries.status(), kExitFailed);
  int whole = 0;
  int damaged = 0;
  for (const CheckpointEntry& entry : *entries) {
    if (absl::IsNotFound(entry.manifest.status())) {
      console.Line(absl::StrCat(entry.path, ": not finished"));
    } else if (entry.manifest.ok()) {
      ++(VerifyOne(entry.path, console) ? whole : damaged);
    } else {
      console.Error(entry.manifest.status().message());
      ++damaged;
    }
  }
  if (whole + damaged == 0) console.Error(absl::StrCat(dir, " has no checkpoint"));
  return whole > 0 && damaged == 0 ? kExitOk : kExitFailed;
}

// The checkpoint that `path` means.
absl::StatusOr<ValidCheckpoint> FindCheckpoint(const std::string& path, const Console& console) {
  if (IsCheckpoint(path) || IsNamedAsCheckpoint(path)) {
    TESSERA_ASSIGN_OR_RETURN(CheckpointManifest manifest, ReadManifest(path));
    return ValidCheckpoint{path, std::move(manifest)};
  }
  return FindNewestValid(FolderOfCheckpoints(path), [&](absl::string_view reason) {
    console.Error(absl::StrCat("passed over: ", reason));
  });
}

}  // namespace

int TakeCheckpoint(const std::string& target_text, const std::string& coordinator,
                   const std::string& timeout_text, const Console& console) {
  const absl::StatusOr<absl::Duration> timeout = ParseDuration(timeout_text);
  if (!timeout.ok()) return Complain(console, Annotate(timeout.status(), "--timeout"), kExitUsage);
  const absl::StatusOr<Target> target = ResolveTarget(target_text, coordinator);
  if (!target.ok()) return Complain(console, target.status(), kExitUsage);
  const absl::StatusOr<wire::JobStatus> status = TakeAndAwait(*target, *timeout);
  if (!status.ok()) return Complain(console, status.status(), kExitFailed);
  console.Line(status->checkpoint_folder());
  return kExitOk;
}

int ListCheckpointsOf(const std::string& folder, const Console& console) {
  if (const absl::Status there = CheckFolder(folder); !there.ok())
    return Complain(console, there, kExitUsage);
  const std::string dir = FolderOfCheckpoints(folder);
  const absl::StatusOr<std::vector<CheckpointEntry>> entries = ListCheckpoints(dir);
  if (!entries.ok()) return Complain(console, entries.status(), kExitFailed);
  if (entries->empty()) {
    console.Line(absl::StrCat(dir, " has no checkpoint"));
    return kExitOk;
  }
  console.Line(TableRow("step", "time", "files", "size", "state"));
  for (const CheckpointEntry& entry : *entries) console.Line(TableRow(entry));
  return kExitOk;
}

int VerifyCheckpoints(const std::string& folder, const Console& console) {
  if (const absl::Status there = CheckFolder(folder); !there.ok())
    return Complain(console, there, kExitUsage);
  if (IsCheckpoint(folder) || IsNamedAsCheckpoint(folder)) {
    return VerifyOne(folder, console) ? kExitOk : kExitFailed;
  }
  return VerifyAll(FolderOfCheckpoints(folder), console);
}

int ExportModel(const std::string& checkpoint, const std::string& file, const Console& console) {
  if (const absl::Status there = CheckFolder(checkpoint); !there.ok()) {
    return Complain(console, there, kExitUsage);
  }
  const absl::StatusOr<ValidCheckpoint> found = FindCheckpoint(checkpoint, console);
  if (!found.ok()) return Complain(console, found.status(), kExitFailed);
  const absl::StatusOr<NamedTensors> model = ReadCheckpointModel(found->path, found->manifest);
  if (!model.ok()) return Complain(console, model.status(), kExitFailed);
  const std::string digest = WeightsDigest(*model);
  const absl::Status written =
      WriteSafetensors(file, *model, {{"job", found->manifest.job}, {"weights_digest", digest}});
  if (!written.ok()) return Complain(console, written, kExitFailed);
  console.Line(absl::StrCat(file, ": ", model->size(), " tensors of ", found->path));
  console.Line(absl::StrCat("weights digest  ", digest));
  return kExitOk;
}

}  // namespace tessera::cli

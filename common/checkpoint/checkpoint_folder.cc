#include "common/checkpoint/checkpoint_folder.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/check.h"
#include "common/file.h"
#include "common/file_descriptor.h"
#include "common/status.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr char kPrefix[] = "step-";
constexpr char kProbeName[] = "probe";
constexpr size_t kProbeBytes = 16;
constexpr int64_t kMaxProbeFileBytes = 256;

absl::Status SystemError(absl::string_view action, const std::string& path, const std::error_code& error) {
  const std::string message = absl::StrCat("cannot ", action, " ", path, ": ", error.message());
  if (error == std::errc::no_space_on_device) return absl::ResourceExhaustedError(message);
  return absl::UnavailableError(message);
}

std::string StepName(Clock clock) { return absl::StrFormat("%s%012d", kPrefix, clock); }

std::optional<Clock> ClockOf(const std::string& name) {
  Clock clock = 0;
  absl::string_view digits = name;
  if (!absl::ConsumePrefix(&digits, kPrefix) || !absl::SimpleAtoi(digits, &clock) || clock < 0 ||
      StepName(clock) != name) {
    return std::nullopt;
  }
  return clock;
}

absl::StatusOr<CheckpointManifest> ReadManifestOf(const std::string& path, Clock clock) {
  TESSERA_ASSIGN_OR_RETURN(CheckpointManifest manifest, ReadManifest(path));
  if (manifest.clock == clock) return manifest;
  return absl::DataLossError(absl::StrCat(path, "/", kManifestName, ": is of step ", manifest.clock,
                                          ", its folder's name of another"));
}

absl::Status MakeFolders(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  return error ? SystemError("make the folder", path, error) : absl::OkStatus();
}

// So that what was made or removed in `path` stays so after a power cut.
absl::Status SyncFolder(const std::string& path) {
  const FileDescriptor folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.valid() && fsync(folder.get()) == 0) return absl::OkStatus();
  return SystemError("write the folder", path, std::error_code(errno, std::generic_category()));
}

absl::Status CheckEachShardOnce(const std::string& path, const CheckpointManifest& manifest) {
  std::vector<const CheckpointFileInfo*> holders(manifest.layout.shards().size());
  for (const CheckpointFileInfo& file : manifest.files) {
    for (const ShardId shard : file.shards) {
      if (holders[shard] != nullptr) {
        return absl::DataLossError(absl::StrCat(path, "/", file.name, ": has ",
                                                manifest.layout.Describe(shard), ", as ",
                                                holders[shard]->name, " has"));
      }
      holders[shard] = &file;
    }
  }
  for (const Shard& shard : manifest.layout.shards()) {
    if (holders[shard.id] != nullptr) continue;
    return absl::DataLossError(
        absl::StrCat(path, "/", kManifestName, ": no file has ", manifest.layout.Describe(shard.id)));
  }
  return absl::OkStatus();
}

bool HasManifest(const CheckpointEntry& entry) { return !absl::IsNotFound(entry.manifest.status()); }

// The manifest first: what is half removed is no checkpoint any more.
absl::Status Remove(const std::string& path) {
  std::error_code error;
  fs::remove(absl::StrCat(path, "/", kManifestName), error);
  if (!error) fs::remove_all(path, error);
  return error ? SystemError("remove", path, error) : absl::OkStatus();
}

// Index of the first of `entries` that is valid.
std::optional<size_t> FirstValid(const std::vector<CheckpointEntry>& entries,
                                 const std::function<void(absl::string_view)>& passed_over) {
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!HasManifest(entries[i])) continue;
    absl::Status status = entries[i].manifest.status();
    if (status.ok()) status = VerifyCheckpoint(entries[i].path).status();
    if (status.ok()) return i;
    if (passed_over) passed_over(status.message());
  }
  return std::nullopt;
}

// A new folder `dir`/earlier.<number>.
absl::StatusOr<std::string> MakeEarlierFolder(const std::string& dir) {
  for (int number = 1;; ++number) {
    const std::string path = absl::StrCat(dir, "/earlier.", number);
    std::error_code error;
    if (fs::create_directory(path, error)) return path;
    if (error && error != std::errc::file_exists) return SystemError("make the folder", path, error);
  }
}

}  // namespace

std::string CheckpointPath(const std::string& dir, Clock clock) {
  return absl::StrCat(dir, "/", StepName(clock));
}

absl::StatusOr<std::string> MakeCheckpointPath(const std::string& dir, Clock clock) {
  const std::string path = CheckpointPath(dir, clock);
  TESSERA_RETURN_IF_ERROR(MakeFolders(path));
  TESSERA_RETURN_IF_ERROR(SyncFolder(dir));
  return path;
}

absl::StatusOr<std::vector<CheckpointEntry>> ListCheckpoints(const std::string& dir) {
  std::error_code error;
  fs::directory_iterator each(dir, error);
  if (error == std::errc::no_such_file_or_directory) {
    return absl::NotFoundError(absl::StrCat("there is no folder ", dir));
  }
  std::vector<CheckpointEntry> entries;
  for (; !error && each != fs::directory_iterator(); each.increment(error)) {
    const std::optional<Clock> clock = ClockOf(each->path().filename().string());
    std::error_code ignored;
    if (!clock.has_value() || !fs::is_directory(each->symlink_status(ignored))) continue;
    const std::string path = CheckpointPath(dir, *clock);
    entries.push_back({path, *clock, ReadManifestOf(path, *clock)});
  }
  if (error) return SystemError("read the folder", dir, error);
  std::sort(entries.begin(), entries.end(),
            [](const CheckpointEntry& a, const CheckpointEntry& b) { return a.clock > b.clock; });
  return entries;
}

absl::StatusOr<CheckpointManifest> VerifyCheckpoint(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(CheckpointManifest manifest, ReadManifest(path));
  TESSERA_RETURN_IF_ERROR(CheckEachShardOnce(path, manifest));
  for (const CheckpointFileInfo& file : manifest.files) {
    TESSERA_RETURN_IF_ERROR(VerifyCheckpointFile(path, file));
  }
  return manifest;
}

absl::StatusOr<ValidCheckpoint> FindNewestValid(const std::string& dir,
                                                const std::function<void(absl::string_view)>& passed_over) {
  TESSERA_ASSIGN_OR_RETURN(std::vector<CheckpointEntry> entries, ListCheckpoints(dir));
  const std::optional<size_t> found = FirstValid(entries, passed_over);
  if (!found.has_value()) return absl::NotFoundError(absl::StrCat(dir, " has no checkpoint that is whole"));
  return ValidCheckpoint{entries[*found].path, *std::move(entries[*found].manifest)};
}

absl::Status PruneCheckpoints(const std::string& dir, int32_t keep) {
  TESSERA_CHECK(keep >= 1);
  TESSERA_ASSIGN_OR_RETURN(const std::vector<CheckpointEntry> entries, ListCheckpoints(dir));
  const std::optional<size_t> newest_valid = FirstValid(entries, nullptr);
  if (!newest_valid.has_value()) return absl::OkStatus();
  absl::Status first_error;
  int32_t kept = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    const bool is_kept = HasManifest(entries[i]) ? kept++ < keep || i == *newest_valid : i < *newest_valid;
    if (!is_kept) first_error.Update(Remove(entries[i].path));
  }
  return first_error;
}

absl::StatusOr<std::string> SetAsideCheckpoints(const std::string& dir) {
  const absl::StatusOr<std::vector<CheckpointEntry>> entries = ListCheckpoints(dir);
  if (absl::IsNotFound(entries.status())) return std::string();
  TESSERA_RETURN_IF_ERROR(entries.status());
  if (entries->empty()) return std::string();
  TESSERA_ASSIGN_OR_RETURN(const std::string earlier, MakeEarlierFolder(dir));
  for (const CheckpointEntry& entry : *entries) {
    std::error_code error;
    fs::rename(entry.path, CheckpointPath(earlier, entry.clock), error);
    if (error) return SystemError("move", entry.path, error);
  }
  TESSERA_RETURN_IF_ERROR(SyncFolder(dir));
  return earlier;
}

absl::StatusOr<std::string> WriteProbe(const std::string& dir) {
  std::array<char, kProbeBytes> random;
  if (getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    return absl::UnavailableError("the system has no random bytes");
  }
  const std::string probe = absl::BytesToHexString(absl::string_view(random.data(), random.size()));
  TESSERA_RETURN_IF_ERROR(MakeFolders(dir));
  const absl::Span<const uint8_t> piece(reinterpret_cast<const uint8_t*>(probe.data()), probe.size());
  TESSERA_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(dir, "/", kProbeName), {piece}));
  return probe;
}

absl::Status CheckProbe(const std::string& dir, const std::string& probe) {
  const absl::StatusOr<InputFile> file = InputFile::Open(absl::StrCat(dir, "/", kProbeName));
  absl::Status status = file.status();
  std::string found;
  if (status.ok()) {
    found.resize(static_cast<size_t>(std::min(file->size(), kMaxProbeFileBytes)));
    status = file->ReadAt(0, {reinterpret_cast<uint8_t*>(found.data()), found.size()});
  }
  if (status.ok() && found == probe) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the checkpoints' folder ", dir, " is not the coordinator's (",
                   status.ok() ? "its file `probe` holds something else" : status.message(),
                   "): checkpoint.dir must be visible to all servers, by the same path"));
}

}  // namespace tessera

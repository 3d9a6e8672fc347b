#include "common/run_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "common/status.h"

namespace tessera {
namespace {

absl::Status SystemError(absl::string_view what, int error) {
  return absl::UnavailableError(absl::StrCat(what, ": ", strerror(error)));
}

absl::Status CheckName(const std::string& name) {
  bool plain = !name.empty() && name.front() != '.';
  for (const char c : name) plain = plain && (absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-');
  if (plain) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the job's name `", name,
                   "` cannot name a folder: letters, digits, `-`, `_` and `.` only, not first a `.`"));
}

absl::Status MakeFolder(const std::string& path) {
  if (mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return absl::OkStatus();
  return SystemError(absl::StrCat("cannot make the folder ", path), errno);
}

// " (pid 123)", or "" in the moment between another's lock and its note.
std::string HolderNote(int lock) {
  char text[32] = {};
  if (pread(lock, text, sizeof(text) - 1, 0) <= 0) return "";
  return absl::StrCat(" (pid ", absl::string_view(absl::StripAsciiWhitespace(text)), ")");
}

absl::StatusOr<FileDescriptor> TakeLock(const std::string& path, const std::string& name) {
  FileDescriptor lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!lock.valid()) return SystemError(absl::StrCat("cannot open ", path), errno);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return SystemError(absl::StrCat("cannot lock ", path), errno);
    return absl::AlreadyExistsError(absl::StrCat("a run of job `", name, "` is going on",
                                                 HolderNote(lock.get()),
                                                 "; give this one another name: --set job.name=NAME"));
  }
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(lock.get(), 0) != 0 ||
      pwrite(lock.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return SystemError(absl::StrCat("cannot write ", path), errno);
  }
  return lock;
}

// Never onto an existing folder, which another job's run may be making at this moment.
absl::StatusOr<std::string> MoveAside(const std::string& path) {
  for (int number = 1;; ++number) {
    const std::string target = absl::StrCat(path, ".", number);
    if (renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) == 0) return target;
    if (errno == ENOENT) return std::string();
    if (errno != EEXIST) return SystemError(absl::StrCat("cannot move ", path, " to ", target), errno);
  }
}

}  // namespace

std::string AddressFile(const std::string& folder) { return absl::StrCat(folder, "/coordinator"); }
std::string SummaryFile(const std::string& folder) { return absl::StrCat(folder, "/summary.json"); }
std::string CheckpointsFolder(const std::string& folder) { return absl::StrCat(folder, "/checkpoints"); }
std::string TraceFolder(const std::string& folder) { return absl::StrCat(folder, "/trace"); }
std::string ModelFile(const std::string& folder) { return absl::StrCat(folder, "/model.safetensors"); }
std::string LogFile(const std::string& folder, const std::string& node) {
  return absl::StrCat(folder, "/logs/", absl::StrReplaceAll(node, {{" ", "-"}}), ".log");
}

absl::StatusOr<RunFolder> RunFolder::Create(const std::string& root, const std::string& name) {
  TESSERA_RETURN_IF_ERROR(CheckName(name));
  TESSERA_RETURN_IF_ERROR(MakeFolder(root));
  TESSERA_ASSIGN_OR_RETURN(FileDescriptor lock, TakeLock(absl::StrCat(root, "/.", name, ".lock"), name));
  const std::string path = absl::StrCat(root, "/", name);
  TESSERA_ASSIGN_OR_RETURN(std::string moved_to, MoveAside(path));
  TESSERA_RETURN_IF_ERROR(MakeFolder(path));
  TESSERA_RETURN_IF_ERROR(MakeFolder(absl::StrCat(path, "/logs")));
  return RunFolder(std::move(lock), path, std::move(moved_to));
}

RunFolder::RunFolder(FileDescriptor lock, std::string path, std::string moved_to)
    : lock_(std::move(lock)), path_(std::move(path)), moved_to_(std::move(moved_to)) {}

}  // namespace tessera

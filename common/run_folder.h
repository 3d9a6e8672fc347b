// Where a run leaves its results, runs/<name>/, kept from being used twice at once.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/file_descriptor.h"

namespace tessera {

inline constexpr char kRunsFolder[] = "runs";

// What is in a run's folder.
std::string AddressFile(const std::string& folder);  // the coordinator's host:port
std::string SummaryFile(const std::string& folder);
std::string ModelFile(const std::string& folder);
std::string CheckpointsFolder(const std::string& folder);  // unless the job names another
std::string TraceFolder(const std::string& folder);        // each node's trace, until they are joined
std::string LogFile(const std::string& folder, const std::string& node);  // "server 1" -> logs/server-1.log

// A folder <root>/<name> with logs/ in it, locked as long as this object (or the process) lives. The
// lock is a file beside it, <root>/.<name>.lock, since the folder itself may be moved. It is never deleted:
// two runs that see different files of that name would both hold a lock.
class RunFolder {
 public:
  // Moves an older folder of the name to <name>.1, or the first number that is free.
  // Errors: kInvalidArgument, a name that is no plain file name; kAlreadyExists, a run of that name is going
  // on (names its pid); kUnavailable, the file system refuses.
  static absl::StatusOr<RunFolder> Create(const std::string& root, const std::string& name);

  // The folder of an earlier run, to go on in it. Errors: as Create(); kNotFound, there is none (names it).
  static absl::StatusOr<RunFolder> Reopen(const std::string& root, const std::string& name);

  const std::string& path() const { return path_; }
  // Where the older folder went, or "".
  const std::string& moved_to() const { return moved_to_; }

 private:
  RunFolder(FileDescriptor lock, std::string path, std::string moved_to);
  FileDescriptor lock_;
  std::string path_;
  std::string moved_to_;
};

}  // namespace tessera

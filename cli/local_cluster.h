// A whole cluster on this machine: one coordinator, servers and workers as child processes on loopback.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/place.h"
#include "cli/process_group.h"
#include "common/trace/trace_merge.h"

namespace tessera::cli {

struct ClusterOptions {
  std::string programs;               // folder of the daemons' executables
  std::string config;                 // job file
  std::vector<std::string> settings;  // KEY=VALUE, for the coordinator's --set
  std::string run_folder;
  int port = 0;  // of the coordinator; 0 takes a free one
  int servers = 1;
  int workers = 1;
  bool traced = false;  // each node leaves its trace in the run folder's trace/
  bool resume = false;  // the coordinator goes on with what the run folder holds
  // To study faults: further arguments of every server and worker, with a --fault-seed for each that follows
  // from `fault_seed`; and how many times as long a worker (by index) takes.
  std::vector<std::string> fault_arguments;
  uint64_t fault_seed = 0;
  std::map<int, double> slowdowns;
};

// The folder of this program's executable, where the daemons are too.
absl::StatusOr<std::string> ProgramFolder();

// Whether a listener could take 127.0.0.1:`port` now.
bool PortIsFree(int port);

// The port of "host:port". Errors: kInvalidArgument, there is none.
absl::StatusOr<int> PortOf(const std::string& address);

// The last line of a process's log that says something, or "".
std::string LastLogLine(const std::string& path);

// Not thread-safe; to be used from the main thread (see Process). What still runs when it is destroyed is
// killed.
class LocalCluster {
 public:
  explicit LocalCluster(ClusterOptions options) : options_(std::move(options)) {}

  // Starts the coordinator, waits (at most `timeout`) for its address, then starts the nodes. `interrupted`
  // is asked whenever `extra` is readable; true ends the wait. Errors: kNotFound, a daemon's program is
  // missing; kAborted, the coordinator ended (with its last words); kDeadlineExceeded; kCancelled,
  // interrupted; those of Process::Spawn.
  absl::Status Start(absl::Duration timeout, int extra, const std::function<bool()>& interrupted);

  // The coordinator's host:port, once started.
  const std::string& address() const { return address_; }
  int servers() const { return options_.servers; }
  int workers() const { return options_.workers; }
  ProcessGroup* processes() { return &processes_; }
  // The coordinator is the first of the group, then come servers, then workers.
  static constexpr size_t kCoordinator = 0;
  size_t IndexOf(const Place& place) const;
  // Of all processes, by index.
  std::vector<Place> places() const;
  // Starts a process, whose exit was taken, again in its place, with the log of the one before; the
  // coordinator at the same address, going on with the run. Errors: those of Process::Spawn.
  absl::Status Restart(size_t process);
  // Calls the nodes, and their logs, what the coordinator calls them: it numbers them as they come, not as
  // they were started. `names`: node names by pid. Nothing changes unless these are the same names in another
  // order.
  void AdoptNames(const std::map<int64_t, std::string>& names);
  // "server 1 (pid 123) was killed by signal 9 (Killed); log: runs/x/logs/server-1.log", with the last line
  // of the log when the process left by itself.
  std::string DescribeExit(size_t process, const ProcessExit& exit) const;
  // Of a traced cluster: each node's trace, which is there once it has ended. Workers first.
  std::vector<TracePart> trace_parts() const;

 private:
  absl::Status CheckPrograms() const;
  absl::Status StartDaemon(const std::string& node, const std::string& program,
                           std::vector<std::string> arguments);
  std::vector<std::string> CoordinatorArguments(const std::string& bind, bool resume) const;
  absl::Status StartNode(const Place& place);
  std::string TracePath(size_t process) const;
  absl::Status AwaitAddress(absl::Duration timeout, int extra, const std::function<bool()>& interrupted);
  // Reads the address file; false while it is not there.
  bool ReadAddress();

  const ClusterOptions options_;
  std::string
      folder_;  // absolute, since the coordinator tells it to `tessera status`, wherever that is called
  std::string address_;
  std::vector<ProcessOptions> launches_;  // how each process was started
  ProcessGroup processes_;
};

}  // namespace tessera::cli

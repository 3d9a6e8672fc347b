#include "cli/local_cluster.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/text.h"
#include "common/file_descriptor.h"
#include "common/run_folder.h"
#include "common/status.h"

namespace tessera::cli {
namespace {

constexpr char kCoordinatorProgram[] = "tessera-coordinator";
constexpr char kServerProgram[] = "tessera-server";
constexpr char kWorkerProgram[] = "tessera-worker";
constexpr uint64_t kMostProcesses = 1000;
constexpr size_t kLogTail = 4096;
constexpr size_t kLongestQuote = 300;

void Drain(int fd) {
  char buffer[4096];
  while (read(fd, buffer, sizeof(buffer)) > 0) {
  }
}

// Where a process's log waits while another's has its name.
std::string Aside(const Process& process) { return absl::StrCat(process.log_path(), ".", process.pid()); }

// Orders workers before servers, and each by number.
std::tuple<bool, size_t, std::string> Rank(const std::string& node) {
  return {!absl::StartsWith(node, "worker"), node.size(), node};
}

}  // namespace

absl::StatusOr<std::string> ProgramFolder() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return absl::UnavailableError(absl::StrCat("cannot read /proc/self/exe: ", error.message()));
  return self.parent_path().string();
}

bool PortIsFree(int port) {
  const FileDescriptor probe(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // As the listener does: connections of an earlier run that are still being forgotten do not count.
  const int yes = 1;
  setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return bind(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

absl::StatusOr<int> PortOf(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 ||
      port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("`", address, "` is not HOST:PORT"));
  }
  return port;
}

std::string LastLogLine(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return "";
  const auto size = static_cast<size_t>(file.tellg());
  std::string tail(std::min(size, kLogTail), '\0');
  file.seekg(static_cast<std::streamoff>(size - tail.size()));
  file.read(tail.data(), static_cast<std::streamsize>(tail.size()));
  absl::StripTrailingAsciiWhitespace(&tail);
  return tail.substr(tail.rfind('\n') + 1, kLongestQuote);
}

absl::Status LocalCluster::Start(absl::Duration timeout, int extra,
                                 const std::function<bool()>& interrupted) {
  TESSERA_RETURN_IF_ERROR(CheckPrograms());
  std::error_code error;
  folder_ = std::filesystem::absolute(options_.run_folder, error).string();
  if (error) return absl::UnavailableError(absl::StrCat(options_.run_folder, ": ", error.message()));
  // An earlier run's is not to be taken for the one that is awaited.
  std::filesystem::remove(AddressFile(options_.run_folder), error);
  TESSERA_RETURN_IF_ERROR(
      StartDaemon("coordinator", kCoordinatorProgram,
                  CoordinatorArguments(absl::StrCat("127.0.0.1:", options_.port), options_.resume)));
  TESSERA_RETURN_IF_ERROR(AwaitAddress(timeout, extra, interrupted));
  launches_[kCoordinator].arguments = CoordinatorArguments(address_, /*resume=*/true);
  for (int i = 0; i < options_.servers; ++i) TESSERA_RETURN_IF_ERROR(StartNode({PlaceKind::kServer, i}));
  for (int i = 0; i < options_.workers; ++i) TESSERA_RETURN_IF_ERROR(StartNode({PlaceKind::kWorker, i}));
  return absl::OkStatus();
}

std::vector<std::string> LocalCluster::CoordinatorArguments(const std::string& bind, bool resume) const {
  std::vector<std::string> arguments = {"--config", options_.config, "--bind", bind, "--run-folder", folder_};
  for (const std::string& setting : options_.settings) {
    arguments.push_back("--set");
    arguments.push_back(setting);
  }
  if (resume) arguments.push_back("--resume");
  return arguments;
}

size_t LocalCluster::IndexOf(const Place& place) const {
  if (place.kind == PlaceKind::kCoordinator) return kCoordinator;
  const size_t first =
      kCoordinator + 1 + (place.kind == PlaceKind::kWorker ? static_cast<size_t>(options_.servers) : 0);
  return first + static_cast<size_t>(place.index);
}

std::vector<Place> LocalCluster::places() const {
  std::vector<Place> places = {Place{}};
  for (int i = 0; i < options_.servers; ++i) places.push_back({PlaceKind::kServer, i});
  for (int i = 0; i < options_.workers; ++i) places.push_back({PlaceKind::kWorker, i});
  return places;
}

absl::Status LocalCluster::Restart(size_t process) {
  ProcessOptions launch = launches_[process];
  launch.name = processes_.process(process).name();
  launch.log_path = processes_.process(process).log_path();
  return processes_.Restart(process, launch);
}

void LocalCluster::AdoptNames(const std::map<int64_t, std::string>& names) {
  std::set<std::string> old_names, new_names;
  std::vector<Process*> moved;
  for (size_t i = kCoordinator + 1; i < processes_.size(); ++i) {
    Process& process = processes_.process(i);
    const auto found = names.find(process.pid());
    if (found == names.end() || found->second == process.name()) continue;
    old_names.insert(process.name());
    new_names.insert(found->second);
    moved.push_back(&process);
  }
  if (old_names != new_names) return;
  // In two steps, since each takes the place of another.
  for (Process* process : moved) rename(process->log_path().c_str(), Aside(*process).c_str());
  for (Process* process : moved) {
    const std::string& name = names.at(process->pid());
    const std::string log_path = LogFile(options_.run_folder, name);
    rename(Aside(*process).c_str(), log_path.c_str());
    process->Rename(name, log_path);
  }
}

std::string LocalCluster::DescribeExit(size_t process, const ProcessExit& exit) const {
  const Process& child = processes_.process(process);
  const std::string quote = exit.signaled || exit.was_asked() ? "" : LastLogLine(child.log_path());
  return absl::StrCat(child.name(), " (pid ", child.pid(), ") ", Describe(exit), quote.empty() ? "" : ": ",
                      quote, "; log: ", child.log_path());
}

absl::Status LocalCluster::CheckPrograms() const {
  for (const char* program : {kCoordinatorProgram, kServerProgram, kWorkerProgram}) {
    if (access(absl::StrCat(options_.programs, "/", program).c_str(), X_OK) == 0) continue;
    return absl::NotFoundError(
        absl::StrCat(program, " is not in ", options_.programs, ", beside this program"));
  }
  return absl::OkStatus();
}

absl::Status LocalCluster::StartDaemon(const std::string& node, const std::string& program,
                                       std::vector<std::string> arguments) {
  launches_.push_back({.name = node,
                       .executable = absl::StrCat(options_.programs, "/", program),
                       .arguments = std::move(arguments),
                       .log_path = LogFile(options_.run_folder, node)});
  return processes_.Start(launches_.back());
}

absl::Status LocalCluster::StartNode(const Place& place) {
  const bool worker = place.kind == PlaceKind::kWorker;
  std::vector<std::string> arguments = {"--coordinator", address_};
  if (options_.traced) {
    std::error_code error;
    std::filesystem::create_directories(TraceFolder(options_.run_folder), error);
    arguments.push_back("--trace");
    arguments.push_back(TracePath(processes_.size()));
  }
  const auto slowdown = options_.slowdowns.find(place.index);
  if (worker && slowdown != options_.slowdowns.end()) {
    arguments.push_back("--slowdown");
    arguments.push_back(FormatExact(slowdown->second));
  }
  if (!options_.fault_arguments.empty()) {
    arguments.insert(arguments.end(), options_.fault_arguments.begin(), options_.fault_arguments.end());
    // Each process has its own faults.
    arguments.insert(arguments.end(), {"--fault-seed", absl::StrCat(options_.fault_seed * kMostProcesses +
                                                                    processes_.size())});
  }
  return StartDaemon(absl::StrCat(worker ? "worker " : "server ", place.index),
                     worker ? kWorkerProgram : kServerProgram, std::move(arguments));
}

// By number, since the coordinator may give the node another name.
std::string LocalCluster::TracePath(size_t process) const {
  return absl::StrCat(TraceFolder(options_.run_folder), "/", process, ".json");
}

std::vector<TracePart> LocalCluster::trace_parts() const {
  std::vector<TracePart> parts;
  for (size_t i = kCoordinator + 1; options_.traced && i < processes_.size(); ++i) {
    parts.push_back({processes_.process(i).name(), TracePath(i)});
  }
  std::sort(parts.begin(), parts.end(),
            [](const TracePart& a, const TracePart& b) { return Rank(a.process) < Rank(b.process); });
  return parts;
}

absl::Status LocalCluster::AwaitAddress(absl::Duration timeout, int extra,
                                        const std::function<bool()>& interrupted) {
  const FileDescriptor changes(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (inotify_add_watch(changes.get(), options_.run_folder.c_str(), IN_MOVED_TO | IN_CLOSE_WRITE) < 0) {
    return absl::UnavailableError(absl::StrCat("cannot watch ", options_.run_folder, ": ", strerror(errno)));
  }
  const absl::Time deadline = absl::Now() + timeout;
  while (!ReadAddress()) {
    if (interrupted()) return absl::CancelledError("interrupted");
    for (const size_t index : processes_.TakeExits()) {
      const Process& coordinator = processes_.process(index);
      return absl::AbortedError(DescribeExit(index, *coordinator.exit()));
    }
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("the coordinator was not ready in ", absl::FormatDuration(timeout),
                       "; log: ", LogFile(options_.run_folder, "coordinator")));
    }
    processes_.Wait({changes.get(), extra}, deadline - absl::Now());
    Drain(changes.get());
  }
  return absl::OkStatus();
}

bool LocalCluster::ReadAddress() {
  std::ifstream file(AddressFile(options_.run_folder));
  return static_cast<bool>(std::getline(file, address_)) && !address_.empty();
}

}  // namespace tessera::cli

// What the main() of every daemon shares: command line, signals, log, exit code.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/fault/link_faults.h"
#include "common/rpc/listener.h"
#include "common/signal_watcher.h"

namespace CLI {
class App;
}

namespace tessera {

// Parses the command line of daemon `name` (`describe` adds its options), sets up the log (plain lines on
// stdout), and runs `run`. Returns the exit code: 0; 1 with one line on stderr when `run` failed; 2 for a
// wrong command line; 128 + n after signal n.
int DaemonMain(int argc, char** argv, const std::string& name, const std::string& description,
               const std::function<void(CLI::App*)>& describe,
               const std::function<absl::Status(SignalWatcher*)>& run);

// Adds --bind and --advertise.
void AddListenOptions(CLI::App* app, ListenOptions* options);
// Adds --coordinator, required: one address or several, separated by commas.
void AddCoordinatorOption(CLI::App* app, std::string* addresses);
// Adds --patience.
void AddPatienceOption(CLI::App* app, absl::Duration* patience);
// Adds --drain-timeout.
void AddDrainOption(CLI::App* app, absl::Duration* drain_timeout);
// Adds --trace.
void AddTraceOption(CLI::App* app, std::string* path);
// Adds --fault-loss, --fault-cut and --fault-seed, which --help does not show (common/fault/README.md).
void AddFaultOptions(CLI::App* app, FaultOptions* options);

}  // namespace tessera

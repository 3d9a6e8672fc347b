// tessera-server: a parameter server.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <thread>

#include "common/rpc/daemon_main.h"
#include "server/server_node.h"

int main(int argc, char** argv) {
  tessera::ServerNodeOptions options;
  options.threads = std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 2, 1, 4);
  const auto describe = [&](CLI::App* app) {
    tessera::AddCoordinatorOption(app, &options.coordinator);
    tessera::AddPatienceOption(app, &options.patience);
    tessera::AddDrainOption(app, &options.drain_timeout);
    app->add_option("--threads", options.threads, "threads that serve the workers' streams")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    tessera::AddListenOptions(app, &options.listen);
    tessera::AddFaultOptions(app, &options.faults);
    tessera::AddTraceOption(app, &options.trace_file);
  };
  return tessera::DaemonMain(
      argc, argv, "tessera-server", "A parameter server of a Tessera cluster.", describe,
      [&](tessera::SignalWatcher* signals) { return RunServerNode(options, signals); });
}

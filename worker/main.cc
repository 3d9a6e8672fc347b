// tessera-worker: computes gradients with one device.
#include <CLI/CLI.hpp>

#include "common/rpc/daemon_main.h"
#include "worker/worker_node.h"

int main(int argc, char** argv) {
  tessera::WorkerNodeOptions options;
  double emulated_ms = 0;
  const auto describe = [&](CLI::App* app) {
    tessera::AddCoordinatorOption(app, &options.coordinator);
    tessera::AddPatienceOption(app, &options.patience);
    tessera::AddDrainOption(app, &options.drain_timeout);
    tessera::AddFaultOptions(app, &options.faults);
    tessera::AddTraceOption(app, &options.trace_file);
    app->add_option("--slowdown", options.pace.slowdown,
                    "Take so many times as long for every minibatch, to study what a slow worker does")
        ->check(CLI::Range(1.0, 1000.0))
        ->group("To study stragglers");
    app->add_option("--slowdown-every", options.pace.every,
                    "Only one minibatch in so many, another one for each replica")
        ->check(CLI::Range(1, 1000000))
        ->group("To study stragglers");
    app->add_option("--emulate-ms", emulated_ms,
                    "Compute nothing: wait so many milliseconds for each minibatch and push zeros")
        ->check(CLI::Range(0.0, 60000.0))
        ->group("To study stragglers");
  };
  return tessera::DaemonMain(argc, argv, "tessera-worker", "A worker of a Tessera cluster.", describe,
                             [&](tessera::SignalWatcher* signals) {
                               options.pace.emulated_step = absl::Milliseconds(emulated_ms);
                               return RunWorkerNode(options, signals);
                             });
}

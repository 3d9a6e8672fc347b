// tessera-worker: computes gradients with one device.
#include "common/rpc/daemon_main.h"
#include "worker/worker_node.h"

int main(int argc, char** argv) {
  tessera::WorkerNodeOptions options;
  const auto describe = [&](CLI::App* app) { tessera::AddCoordinatorOption(app, &options.coordinator); };
  return tessera::DaemonMain(
      argc, argv, "tessera-worker", "A worker of a Tessera cluster.", describe,
      [&](tessera::SignalWatcher* signals) { return RunWorkerNode(options, signals); });
}

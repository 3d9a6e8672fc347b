// Bytes a second from process to process: through the whole exchange, and what the machine can do at best.
// Prints
// {"gigabytes_per_second": x} of tensor bytes. bench/sections/transport.py runs it.
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "bench/bare_transport.h"
#include "bench/exchange_transport.h"
#include "common/rpc/process_tuning.h"

namespace tessera::bench {
namespace {

struct Options {
  std::string path = "tcp";
  std::string direction = "push";
  double seconds = 0.5;
  ExchangeOptions exchange;
  BareOptions bare;
};

absl::StatusOr<double> Rate(Options options) {
  options.exchange.duration = options.bare.duration = absl::Seconds(options.seconds);
  if (options.path == "bare-tcp") return BareTcpRate(options.bare);
  if (options.path == "bare-unix") return BareUnixRate(options.bare);
  if (options.path == "memcpy") return CopyRate(options.exchange.model_bytes, options.bare.duration);
  options.exchange.shared_memory = options.path == "shm";
  using Direction = ExchangeOptions::Direction;
  options.exchange.direction = options.direction == "push"   ? Direction::kPush
                               : options.direction == "pull" ? Direction::kPull
                                                             : Direction::kExchange;
  return ExchangeRate(options.exchange);
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Measures one path between two processes of this machine.");
  app.add_option("--path", options.path)
      ->check(CLI::IsMember({"tcp", "shm", "bare-tcp", "bare-unix", "memcpy"}));
  app.add_option("--direction", options.direction)->check(CLI::IsMember({"push", "pull", "exchange"}));
  app.add_option("--seconds", options.seconds)->check(CLI::Range(0.01, 60.0));
  app.add_option("--model-bytes", options.exchange.model_bytes)->check(CLI::Range(4, 1 << 30));
  app.add_option("--shard-bytes", options.exchange.shard_bytes)->check(CLI::Range(4, 16 << 20));
  app.add_option("--optimizer", options.exchange.optimizer);
  app.add_option("--rounds-under-way", options.exchange.rounds_under_way)->check(CLI::Range(1, 2));
  app.add_option("--write-bytes", options.bare.write_bytes)->check(CLI::Range(1, 64 << 20));
  app.add_option("--payload-bytes", options.bare.payload_bytes)->check(CLI::Range(1, 1 << 30));
  app.add_option("--socket-buffer-bytes", options.bare.socket_buffer_bytes)->check(CLI::Range(0, 1 << 30));
  bool tuned = true;
  app.add_flag("--tuned,!--untuned", tuned, "as daemons are (common/rpc/process_tuning.h)");
  CLI11_PARSE(app, argc, argv);
  if (tuned) TuneProcess();
  spdlog::set_level(spdlog::level::warn);  // stdout is for the figure
  const absl::StatusOr<double> rate = Rate(options);
  if (!rate.ok()) {
    std::fprintf(stderr, "%s\n", rate.status().ToString().c_str());
    return 1;
  }
  std::printf("{\"gigabytes_per_second\": %.4f}\n", *rate / 1e9);
  return 0;
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) { return tessera::bench::Main(argc, argv); }

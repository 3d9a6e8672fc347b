#include "common/rpc/daemon_main.h"

#include <grpc/support/log.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/protocol.h"
#include "common/rpc/address.h"
#include "common/rpc/process_tuning.h"
#include "common/units.h"

namespace tessera {

namespace {

// A CLI11 validator: "" or what is wrong.
std::string CheckAddress(const std::string& text) {
  return std::string(ParseHostPort(text).status().message());
}

std::string CheckAddresses(const std::string& text) {
  for (const std::string& address : std::vector<std::string>(absl::StrSplit(text, ','))) {
    if (std::string wrong = CheckAddress(address); !wrong.empty()) return wrong;
  }
  return "";
}

std::string CheckDuration(const std::string& text) {
  return std::string(ParseDuration(text).status().message());
}

void AddTimeOption(CLI::App* app, const std::string& name, absl::Duration* time, const std::string& text) {
  const auto set = [time](const std::string& value) { *time = ParseDuration(value).value_or(*time); };
  app->add_option_function<std::string>(name, set, text)
      ->check(CheckDuration)
      ->type_name("TIME")
      ->default_str(absl::FormatDuration(*time));
}

}  // namespace

void AddCoordinatorOption(CLI::App* app, std::string* addresses) {
  app->add_option("--coordinator", *addresses,
                  "HOST:PORT of the coordinator; several, separated by commas, are tried in turn")
      ->required()
      ->check(CheckAddresses);
}

void AddPatienceOption(CLI::App* app, absl::Duration* patience) {
  AddTimeOption(app, "--patience", patience,
                "How long the coordinator may be away before this node gives up, as 30s or 10m");
}

void AddDrainOption(CLI::App* app, absl::Duration* drain_timeout) {
  AddTimeOption(
      app, "--drain-timeout", drain_timeout,
      "After SIGTERM: how long others may take to get what this node holds or runs, before it leaves anyway");
}

void AddListenOptions(CLI::App* app, ListenOptions* options) {
  app->add_option("--bind", options->bind, "HOST:PORT to listen on; port 0 takes a free one")
      ->check(CheckAddress)
      ->capture_default_str();
  app->add_option("--advertise", options->advertise, "HOST or HOST:PORT that others reach this node at");
}

void AddTraceOption(CLI::App* app, std::string* path) {
  app->add_option(
         "--trace", *path,
         "where a trace of what this node did when goes at its end, as JSON for Perfetto or chrome://tracing")
      ->type_name("FILE");
}

void AddFaultOptions(CLI::App* app, FaultOptions* options) {
  const std::string hidden;
  const auto add = [&](const std::string& name, double* probability, const std::string& what) {
    app->add_option(name, *probability, "the probability that " + what)
        ->check([name](const std::string& text) {  // CLI11 names no hidden option
          double value = -1;
          return absl::SimpleAtod(text, &value) && value >= 0 && value < 1
                     ? std::string()
                     : name + " " + text + ": a probability is at least 0 and below 1";
        })
        ->group(hidden);
  };
  add("--fault-loss", &options->loss, "a message or a call is lost");
  add("--fault-cut", &options->cut, "a connection is cut at a message");
  app->add_option("--fault-seed", options->seed, "which of them")->group(hidden);
}

int DaemonMain(int argc, char** argv, const std::string& name, const std::string& description,
               const std::function<void(CLI::App*)>& describe,
               const std::function<absl::Status(SignalWatcher*)>& run) {
  CLI::App app(description, name);
  app.set_version_flag("--version", name + " " + kBuildVersion);
  describe(&app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::fprintf(stderr, "%s: %s\n", name.c_str(), error.what());
    return 2;
  }
  TuneProcess();
  SignalWatcher signals;  // before any other thread
  gpr_set_log_function(
      [](gpr_log_func_args*) {});  // every failure reaches us as a status; one clear line is ours
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  spdlog::flush_on(spdlog::level::info);
  const absl::Status status = run(&signals);
  if (signals.received() != 0) return 128 + signals.received();
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s: %s\n", name.c_str(), std::string(status.message()).c_str());
  return 1;
}

}  // namespace tessera

#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <functional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "cli/checkpoint_command.h"
#include "cli/config_command.h"
#include "cli/eval_command.h"
#include "cli/exit_codes.h"
#include "cli/run_command.h"
#include "cli/status_command.h"
#include "common/options.h"
#include "common/protocol.h"

namespace tessera::cli {
namespace {

// A word of the design whose feature is not part of this version. Known, so that it is refused by name.
struct UnbuiltWord {
  const char* word;
  const char* feature;
};

constexpr UnbuiltWord kUnbuiltCommands[] = {
    {"top", "the live view of a running job"},
};

std::string Refusal(absl::string_view kind, const UnbuiltWord& unbuilt) {
  return absl::StrCat(kind, " `", unbuilt.word, "` is not in this version: ", unbuilt.feature,
                      " is not built yet");
}

// Everything that the options below write to; what `chosen` runs after parsing.
struct Arguments {
  RunOptions run;
  std::string job, model, target, coordinator, folder, file;
  std::string timeout = kDefaultCheckpointTimeout;
  std::vector<std::string> settings;
  std::function<int(const Console&)> chosen;
};

void AddSettings(CLI::App* command, std::vector<std::string>* settings) {
  command
      ->add_option("--set", *settings,
                   "a value in place of the file's, as in train.epochs=1; may be repeated")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  // `--set a=1 b=2`: what follows is a setting too. (--set itself takes one word, so that it never swallows
  // JOB.)
  command
      ->add_option_function<std::vector<std::string>>(
          "SETTING",
          [settings](const std::vector<std::string>& more) {
            for (const std::string& word : more) {
              if (!absl::StrContains(word, "=")) {
                throw CLI::ValidationError(absl::StrCat("unexpected argument `", word, "`"));
              }
            }
            settings->insert(settings->end(), more.begin(), more.end());
          })
      ->group("");
}

void AddJob(CLI::App* command, std::string* job) {
  command->add_option("JOB", *job, "the job file (YAML)")->type_name("FILE")->required();
}

void AddRun(CLI::App* app, Arguments* arguments) {
  CLI::App* run = app->add_subcommand("run", "Train a job on a cluster of processes on this machine");
  RunOptions* options = &arguments->run;
  AddJob(run, &options->job);
  run->add_option("--servers", options->servers, "how many, in place of cluster.servers")->type_name("N");
  run->add_option("--workers", options->workers, "how many, in place of cluster.workers")->type_name("N");
  AddSettings(run, &options->settings);
  run->add_option("--summary", options->summary_file, "where a copy of the run's summary (JSON) goes")
      ->type_name("FILE");
  run->add_option("--trace", options->trace_file,
                  "where a trace of all processes goes, as JSON for Perfetto or chrome://tracing")
      ->type_name("FILE");
  run->add_flag("--resume", options->resume,
                "go on with the earlier run of this job, from its newest checkpoint");
  run->add_flag("!--no-restart", options->restart, "leave processes that die dead");
  run->add_option(
         "--chaos", options->chaos,
         "faults to inject, as in \"kill server:1 @step 40; drop 2%\"; @FILE reads them, random draws some")
      ->type_name("PLAN");
  run->add_option("--chaos-seed", options->chaos_seed, "of what --chaos leaves to chance")
      ->type_name("N")
      ->capture_default_str();
  run->callback([arguments] {
    arguments->chosen = [arguments](const Console& console) { return RunJob(arguments->run, console); };
  });
}

void AddTarget(CLI::App* command, Arguments* arguments) {
  command->add_option("TARGET", arguments->target, "a job file or a run folder")->type_name("FILE|FOLDER");
  command
      ->add_option("--coordinator", arguments->coordinator, "the coordinator's address, in place of TARGET")
      ->type_name("HOST:PORT");
}

using TargetCommand = int (*)(const std::string&, const std::string&, const Console&);
void AddTargetCommand(CLI::App* app, const char* name, const char* help, TargetCommand command,
                      Arguments* arguments) {
  CLI::App* added = app->add_subcommand(name, help);
  AddTarget(added, arguments);
  added->callback([arguments, command] {
    arguments->chosen = [arguments, command](const Console& console) {
      return command(arguments->target, arguments->coordinator, console);
    };
  });
}

using JobCommand = int (*)(const std::string&, const std::vector<std::string>&, const Console&);
void AddJobCommand(CLI::App* app, const char* name, const char* help, JobCommand command,
                   Arguments* arguments) {
  CLI::App* added = app->add_subcommand(name, help);
  AddJob(added, &arguments->job);
  AddSettings(added, &arguments->settings);
  added->callback([arguments, command] {
    arguments->chosen = [arguments, command](const Console& console) {
      return command(arguments->job, arguments->settings, console);
    };
  });
}

void AddConfig(CLI::App* app, Arguments* arguments) {
  CLI::App* config = app->add_subcommand("config", "Check, show or explain job files");
  config->require_subcommand(1);
  AddJobCommand(config, "check", "Check a job, its data and its shapes, without running it", &CheckConfig,
                arguments);
  AddJobCommand(config, "show", "Print a job with every field set", &ShowConfig, arguments);
  config->add_subcommand("reference", "Print the manual of every key")->callback([arguments] {
    arguments->chosen = [](const Console& console) { return ShowConfigReference(console); };
  });
}

void AddEval(CLI::App* app, Arguments* arguments) {
  CLI::App* eval = app->add_subcommand("eval", "Evaluate a model file on a job's test set");
  AddJob(eval, &arguments->job);
  eval->add_option("MODEL", arguments->model, "the model file (safetensors)")->type_name("FILE")->required();
  AddSettings(eval, &arguments->settings);
  eval->callback([arguments] {
    arguments->chosen = [arguments](const Console& console) {
      return EvaluateModel(arguments->job, arguments->model, arguments->settings, console);
    };
  });
}

using FolderCommand = int (*)(const std::string&, const Console&);
void AddFolderCommand(CLI::App* app, const char* name, const char* help, const char* folder_help,
                      FolderCommand command, Arguments* arguments) {
  CLI::App* added = app->add_subcommand(name, help);
  added->add_option("DIR", arguments->folder, folder_help)->type_name("FOLDER")->required();
  added->callback([arguments, command] {
    arguments->chosen = [arguments, command](const Console& console) {
      return command(arguments->folder, console);
    };
  });
}

// Takes one by itself; its own commands are about those that are there.
void AddCheckpoint(CLI::App* app, Arguments* arguments) {
  CLI::App* checkpoint =
      app->add_subcommand("checkpoint", "Save a running job now, or look at what is saved");
  AddTarget(checkpoint, arguments);
  checkpoint->add_option("--timeout", arguments->timeout, "how long to wait until the checkpoint is whole")
      ->type_name("TIME")
      ->capture_default_str();
  AddFolderCommand(checkpoint, "list", "List checkpoints, newest first", "a run folder or one of checkpoints",
                   &ListCheckpointsOf, arguments);
  AddFolderCommand(checkpoint, "verify", "Check every byte of checkpoints",
                   "a checkpoint, a folder of them or a run folder", &VerifyCheckpoints, arguments);
  checkpoint->callback([checkpoint, arguments] {
    if (!checkpoint->get_subcommands().empty()) return;  // which has chosen already
    arguments->chosen = [arguments](const Console& console) {
      return TakeCheckpoint(arguments->target, arguments->coordinator, arguments->timeout, console);
    };
  });
}

void AddExport(CLI::App* app, Arguments* arguments) {
  CLI::App* command = app->add_subcommand("export", "Make a model file (safetensors) of a checkpoint");
  command
      ->add_option("CHECKPOINT", arguments->folder,
                   "a checkpoint's folder; or a run folder: its newest checkpoint that is whole")
      ->type_name("FOLDER")
      ->required();
  command->add_option("FILE", arguments->file, "where the model goes")->type_name("FILE")->required();
  command->callback([arguments] {
    arguments->chosen = [arguments](const Console& console) {
      return ExportModel(arguments->folder, arguments->file, console);
    };
  });
}

void AddUnbuiltCommands(CLI::App* app) {
  for (const UnbuiltWord& command : kUnbuiltCommands) {
    app->add_subcommand(command.word, "")->group("")->allow_extras()->callback([&command] {
      throw CLI::ValidationError(Refusal("command", command));
    });
  }
}

// Every --option must be one of the command's: CLI11 alone would not tell which one was meant.
absl::Status CheckOptionNames(const CLI::App& command, absl::Span<const char* const> words) {
  std::set<std::string> names;
  std::vector<std::string> offered;
  for (const CLI::Option* option : command.get_options({})) {
    for (const std::string& name : option->get_lnames()) {
      names.insert(name);
      if (!option->get_group().empty()) offered.push_back(name);
    }
  }
  for (const std::string word : words) {
    if (word == "--") break;
    if (!absl::StartsWith(word, "--")) continue;
    const std::string name = word.substr(2, word.find('=') - 2);
    if (names.count(name) > 0) continue;
    const std::string nearest = NearestName(name, offered);
    const std::string hint = nearest.empty() ? absl::StrCat("see `tessera ", command.get_name(), " --help`")
                                             : absl::StrCat("did you mean `--", nearest, "`?");
    return absl::InvalidArgumentError(absl::StrCat("unknown option `--", name, "`; ", hint));
  }
  return absl::OkStatus();
}

// The first argument (and the second, after `config`) must be a command, unless one may be left out: CLI11
// alone would only say that one is missing. OK also for options, which CLI11 then reads.
absl::Status CheckCommandWords(const CLI::App& app, absl::Span<const char* const> words) {
  const std::vector<const CLI::App*> commands = app.get_subcommands({});
  if (commands.empty()) {
    return app.get_allow_extras() ? absl::OkStatus() : CheckOptionNames(app, words);
  }
  const bool required = app.get_require_subcommand_min() > 0;
  if (words.empty() && required) return absl::InvalidArgumentError("no command; see `tessera --help`");
  if (words.empty()) return absl::OkStatus();
  const std::string word = words.front();
  if (absl::StartsWith(word, "-")) return required ? absl::OkStatus() : CheckOptionNames(app, words);
  std::vector<std::string> known;
  for (const CLI::App* command : commands) {
    if (command->get_name() == word) return CheckCommandWords(*command, words.subspan(1));
    if (!command->get_group().empty()) known.push_back(command->get_name());
  }
  if (!required) return CheckOptionNames(app, words);
  const std::string nearest = NearestName(word, known);
  const std::string hint =
      nearest.empty() ? "see `tessera --help`" : absl::StrCat("did you mean `", nearest, "`?");
  return absl::InvalidArgumentError(absl::StrCat("unknown command `", word, "`; ", hint));
}

// CLI11 words some errors in several lines.
std::string OneLine(const CLI::ParseError& error) {
  std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

}  // namespace

int RunCommandLine(int argc, const char* const* argv, const Console& console) {
  Arguments arguments;
  if (argc > 0 && absl::StrContains(argv[0], '/')) arguments.run.program = argv[0];
  CLI::App app("Trains neural networks on a cluster of parameter servers and workers.", "tessera");
  app.set_version_flag("--version",
                       absl::StrCat("tessera ", kBuildVersion, " (protocol ", kProtocolVersion, ")"));
  app.require_subcommand(1);
  AddRun(&app, &arguments);
  AddTargetCommand(&app, "status", "Show a running job, or how a run ended", &ShowStatus, &arguments);
  AddTargetCommand(&app, "stop", "End a running job in order", &StopJob, &arguments);
  AddConfig(&app, &arguments);
  AddEval(&app, &arguments);
  AddCheckpoint(&app, &arguments);
  AddExport(&app, &arguments);
  AddUnbuiltCommands(&app);
  const absl::Status words =
      CheckCommandWords(app, absl::MakeConstSpan(argv, static_cast<size_t>(argc)).subspan(argc > 0 ? 1 : 0));
  if (!words.ok()) {
    console.Error(words.message());
    return kExitUsage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      std::ostringstream text;
      app.exit(error, text, text);
      console.out(text.str());
      return kExitOk;
    }
    console.Error(OneLine(error));
    return kExitUsage;
  }
  return arguments.chosen(console);
}

}  // namespace tessera::cli

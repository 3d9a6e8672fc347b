#include "cli/command_line.h"

#include <algorithm>
#include <string>
#include <vector>

#include "cli/exit_codes.h"
#include "gmock/gmock.h"

namespace tessera::cli {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr char kExample[] = TESSERA_SOURCE_DIR "/config/examples/fashion-lenet.yaml";

struct Result {
  int code;
  std::string out, err;
};

Result Tessera(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "tessera");
  Result result;
  Console console;
  console.out = [&result](absl::string_view text) { result.out.append(text.data(), text.size()); };
  console.err = [&result](absl::string_view text) { result.err.append(text.data(), text.size()); };
  result.code = RunCommandLine(static_cast<int>(arguments.size()), arguments.data(), console);
  return result;
}

// One line on stderr, nothing on stdout, exit code 2.
void ExpectUsageError(const std::vector<const char*>& arguments, const std::string& part) {
  const Result result = Tessera(arguments);
  EXPECT_EQ(result.code, kExitUsage);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, StartsWith("tessera: "));
  EXPECT_THAT(result.err, HasSubstr(part));
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
}

TEST(CommandLine, VersionNamesTheProtocolToo) {
  const Result result = Tessera({"--version"});
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_THAT(result.out, StartsWith("tessera "));
  EXPECT_THAT(result.out, HasSubstr("protocol"));
}

TEST(CommandLine, EveryCommandHasHelp) {
  for (const std::vector<const char*>& command :
       std::vector<std::vector<const char*>>{{},
                                             {"run"},
                                             {"status"},
                                             {"stop"},
                                             {"config"},
                                             {"config", "check"},
                                             {"config", "show"},
                                             {"eval"},
                                             {"checkpoint"},
                                             {"checkpoint", "list"},
                                             {"checkpoint", "verify"},
                                             {"export"}}) {
    std::vector<const char*> arguments = command;
    arguments.push_back("--help");
    const Result result = Tessera(arguments);
    EXPECT_EQ(result.code, kExitOk);
    EXPECT_THAT(result.out, HasSubstr("Usage: tessera"));
    EXPECT_EQ(result.err, "");
  }
}

TEST(CommandLine, HelpDoesNotOfferWhatIsNotBuilt) {
  EXPECT_THAT(Tessera({"--help"}).out, Not(HasSubstr(" top ")));
  EXPECT_THAT(Tessera({"run", "--help"}).out, HasSubstr("--trace"));
}

TEST(CommandLine, WrongCommandsAreRefused) {
  ExpectUsageError({}, "no command");
  ExpectUsageError({"config"}, "no command");
  ExpectUsageError({"staus", "x"}, "unknown command `staus`; did you mean `status`?");
  ExpectUsageError({"config", "chek"}, "did you mean `check`?");
  ExpectUsageError({"run"}, "JOB");
  ExpectUsageError({"run", kExample, "more"}, "more");
  ExpectUsageError({"run", kExample, "--wat"}, "unknown option `--wat`; see `tessera run --help`");
  ExpectUsageError({"run", kExample, "--wokers", "3"},
                   "unknown option `--wokers`; did you mean `--workers`?");
  ExpectUsageError({"run", "--sumary=x", kExample}, "did you mean `--summary`?");
  ExpectUsageError({"run", kExample, "--workers", "two"}, "two");
  ExpectUsageError({"status"}, "--coordinator");
  ExpectUsageError({"checkpoint"}, "--coordinator");
  ExpectUsageError({"checkpoint", "--timout", "3s", "x"}, "did you mean `--timeout`?");
  ExpectUsageError({"checkpoint", "x", "--timout=3s"}, "did you mean `--timeout`?");
  ExpectUsageError({"checkpoint", "list"}, "DIR");
  ExpectUsageError({"checkpoint", "verify", "/nonexistent"}, "there is no folder /nonexistent");
  ExpectUsageError({"checkpoint", "list", "/nonexistent", "--wat"}, "unknown option `--wat`");
  ExpectUsageError({"export"}, "CHECKPOINT");
  ExpectUsageError({"export", "/nonexistent"}, "FILE");
}

TEST(CommandLine, UnbuiltFeaturesAreRefusedByName) { ExpectUsageError({"top", "runs/x"}, "`top`"); }

TEST(CommandLine, FilesThatCannotBeWrittenAreRefusedBeforeAnythingStarts) {
  ExpectUsageError({"run", kExample, "--summary", "/nonexistent/a.json"}, "cannot write /nonexistent/a.json");
  ExpectUsageError({"run", kExample, "--trace", "/nonexistent/a.json"}, "cannot write /nonexistent/a.json");
}

TEST(CommandLine, WrongSettingsAreConfigurationErrors) {
  ExpectUsageError({"run", "/nonexistent/job.yaml"}, "/nonexistent/job.yaml");
  ExpectUsageError({"run", kExample, "--set", "train.epoch=1"}, "did you mean `epochs`?");
  ExpectUsageError({"run", kExample, "--set", "epochs"}, "KEY=VALUE");
  ExpectUsageError({"run", kExample, "--workers", "0"}, "cluster.workers");
  ExpectUsageError({"config", "check", kExample, "--set", "data.train.path=/nonexistent"}, "/nonexistent");
}

TEST(CommandLine, WrongPlansOfFaultsAreRefusedWhereTheyAreWrong) {
  ExpectUsageError({"run", kExample, "--chaos", "kil server:1 @step 4"}, "--chaos:1:1: unknown fault `kil`");
  ExpectUsageError({"run", kExample, "--servers", "2", "--chaos", "drop 2%; kill server:2 @step 4"},
                   "--chaos:1:15: no `server:2`");
  ExpectUsageError({"run", kExample, "--chaos", "@/nonexistent/plan"}, "/nonexistent/plan");
  ExpectUsageError({"run", kExample, "--chaos", "drop 2%", "--chaos-seed", "x"}, "--chaos-seed");
}

TEST(CommandLine, ResumeNamesTheRunThatIsMissing) {
  ExpectUsageError({"run", kExample, "--set", "job.name=never-run", "--resume"}, "no folder runs/never-run");
}

TEST(CommandLine, SetTakesOneValueAndMayBeRepeated) {
  const Result result =
      Tessera({"config", "show", "--set", "train.epochs=7", kExample, "--set", "train.batch_size=13"});
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_THAT(result.out, HasSubstr("epochs: 7"));
  EXPECT_THAT(result.out, HasSubstr("batch_size: 13"));
}

TEST(CommandLine, ModeIsAllThatASettingChanges) {
  const Result shown = Tessera({"config", "show", kExample, "--set", "train.consistency.mode=async"});
  EXPECT_EQ(shown.code, kExitOk) << shown.err;
  EXPECT_THAT(shown.out, HasSubstr("mode: async, group: 1, staleness: unbounded"));
  EXPECT_THAT(shown.out, HasSubstr("deterministic: false"));
  const Result checked = Tessera({"config", "check", kExample, "--set", "train.consistency.mode=ssp"});
  EXPECT_EQ(checked.code, kExitOk) << checked.err;
  EXPECT_THAT(checked.out, HasSubstr("; ssp, 4 replicas in groups of 1, at most 3 ahead of the slowest"));
}

TEST(CommandLine, SettingsMayFollowOneSetAndNeverSwallowTheJob) {
  for (const std::vector<const char*>& arguments : std::vector<std::vector<const char*>>{
           {"config", "show", kExample, "--set", "train.epochs=3", "train.batch_size=32"},
           {"config", "show", "--set", "train.epochs=3", kExample, "--set", "train.batch_size=32"}}) {
    const Result result = Tessera(arguments);
    EXPECT_EQ(result.code, kExitOk) << result.err;
    EXPECT_THAT(result.out, HasSubstr("epochs: 3"));
    EXPECT_THAT(result.out, HasSubstr("batch_size: 32"));
  }
  ExpectUsageError({"config", "check", kExample, "other.yaml"}, "unexpected argument `other.yaml`");
}

TEST(CommandLine, ReferenceDocumentsTheKeys) {
  const Result result = Tessera({"config", "reference"});
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_THAT(result.out, HasSubstr("batch_size"));
}

TEST(CommandLine, StatusOfNobodyIsAFailureAndNoUsageError) {
  const Result result = Tessera({"status", "--coordinator", "127.0.0.1:1"});
  EXPECT_EQ(result.code, kExitFailed);
  EXPECT_EQ(result.err, "tessera: no coordinator answers at 127.0.0.1:1\n");
}

}  // namespace
}  // namespace tessera::cli

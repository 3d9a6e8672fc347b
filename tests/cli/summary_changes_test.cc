#include "cli/summary_changes.h"

#include <fstream>

#include "cli/summary.h"
#include "gmock/gmock.h"
#include "tests/cli/children.h"
#include "tests/common/temporary_folder.h"

namespace tessera::cli {
namespace {

using testing::HasSubstr;

constexpr char kText[] = R"({
  "status": "done",
  "message": "",
  "test_accuracy": 0.30000000000000004,
  "events": [
    {
      "who": "worker 0",
      "what": "join",
      "when": "1970-01-01T00:00:01.000Z"
    },
    {
      "who": "worker 0",
      "what": "death",
      "when": "1970-01-01T00:00:03.000Z"
    }
  ]
}
)";

Injection Kill() {
  return {.fault = "kill worker:0 @step 4",
          .node = "worker:0",
          .pid = 12,
          .step = 5,
          .when = absl::UnixEpoch() + absl::Seconds(2)};
}

TEST(SummaryChanges, InjectionsBecomeEventsAtTheirTime) {
  const absl::StatusOr<std::string> text = ChangeSummary(kText, {.injections = {Kill()}, .failure = ""});
  ASSERT_TRUE(text.ok());
  EXPECT_THAT(*text, HasSubstr(R"(    {
      "who": "worker:0",
      "what": "injected",
      "message": "kill worker:0 @step 4",
      "when": "1970-01-01T00:00:02.000Z",
      "pid": 12,
      "node": "worker:0",
      "step": 5
    },
    {
      "who": "worker 0",
      "what": "death")"));
}

TEST(SummaryChanges, AllElseStaysAsItIs) { EXPECT_EQ(*ChangeSummary(kText, {}), kText); }

TEST(SummaryChanges, FailureReplacesWhatTheCoordinatorSaid) {
  const absl::StatusOr<std::string> text =
      ChangeSummary(kText, {.injections = {}, .failure = "no worker is left"});
  ASSERT_TRUE(text.ok());
  const absl::StatusOr<Summary> summary = ParseSummary(*text);
  ASSERT_TRUE(summary.ok());
  EXPECT_EQ(summary->status, "failed");
  EXPECT_EQ(summary->message, "no worker is left");
}

TEST(SummaryChanges, FileIsChangedInPlace) {
  const TemporaryFolder folder;
  const std::string path = folder.File("summary.json");
  std::ofstream(path) << kText;
  ASSERT_TRUE(ChangeSummaryFile(path, {.injections = {Kill()}, .failure = ""}).ok());
  EXPECT_THAT(Contents(path), HasSubstr("injected"));
}

TEST(SummaryChanges, RunWithoutASummaryHasNothingToChange) {
  EXPECT_TRUE(ChangeSummaryFile("/nowhere/summary.json", {.injections = {Kill()}, .failure = ""}).ok());
}

TEST(SummaryChanges, DamagedFileIsNamedAndLeftAlone) {
  const TemporaryFolder folder;
  const std::string path = folder.File("summary.json");
  std::ofstream(path) << "{";
  const absl::Status status = ChangeSummaryFile(path, {.injections = {Kill()}, .failure = ""});
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  EXPECT_EQ(Contents(path), "{");
}

}  // namespace
}  // namespace tessera::cli

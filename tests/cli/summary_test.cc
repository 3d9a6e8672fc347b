#include "cli/summary.h"

#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "tests/common/temporary_folder.h"

namespace tessera::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Summary, ReadsWhatIsThereAndLeavesOutWhatIsNot) {
  const auto summary = ParseSummary(
      R"({"job":"x","status":"done","epochs":2,"test_accuracy":0.88,"test_loss":null,"wall_seconds":15.8})");
  ASSERT_TRUE(summary.ok());
  EXPECT_TRUE(summary->done());
  EXPECT_EQ(summary->test_accuracy, 0.88);
  EXPECT_FALSE(summary->test_loss.has_value());
  EXPECT_EQ(OutcomeLine(*summary), "finished: 2 epochs in 16 s");
  const std::string figures = absl::StrJoin(FigureLines(*summary), "\n");
  EXPECT_THAT(figures, HasSubstr("0.8800"));
  EXPECT_THAT(figures, Not(HasSubstr("test loss")));
}

TEST(Summary, TellsStalenessWhereReplicasDoNotKeepStep) {
  const auto figures = [](const std::string& mode, const std::string& bound) {
    const auto summary = ParseSummary(absl::StrCat(
        R"({"status":"done","mode":")", mode,
        R"(","staleness":{"mean":2.126,"p50":2,"p99":7,"max":9,"bound":)", bound, R"(,"clock_lead":3}})"));
    return absl::StrJoin(FigureLines(*summary), "\n");
  };
  EXPECT_EQ(figures("ssp", "21"), "  staleness       mean 2.13, max 9, bound 21\n  clock lead      3");
  EXPECT_EQ(figures("async", "null"), "  staleness       mean 2.13, max 9, no bound\n  clock lead      3");
  EXPECT_EQ(figures("sync", "0"), "");
}

TEST(Summary, TellsDropsWhereThereWereAny) {
  EXPECT_EQ(
      absl::StrJoin(FigureLines(*ParseSummary(R"({"status":"done","mode":"sync","dropped":1234})")), "\n"),
      "  dropped         1,234 minibatches");
  EXPECT_EQ(absl::StrJoin(FigureLines(*ParseSummary(R"({"status":"done","mode":"sync","dropped":0})")), "\n"),
            "");
}

TEST(Summary, TellsWhyARunFailedOrStopped) {
  EXPECT_EQ(OutcomeLine(*ParseSummary(R"({"status":"failed","message":"the loss is nan"})")),
            "failed: the loss is nan");
  EXPECT_EQ(OutcomeLine(*ParseSummary(R"({"status":"stopped","steps":1200,"message":"stopped on request"})")),
            "stopped after 1,200 steps: stopped on request");
  EXPECT_EQ(OutcomeLine(*ParseSummary(R"({"status":"stopped","steps":12,"message":"why"})"), 1400),
            "stopped after 12 of 1,400 steps: why");
}

TEST(Summary, RecoveriesAreShownWhereThereWereAny) {
  const std::vector<std::string> lines =
      FigureLines(*ParseSummary(R"({"status":"done","resumed_from_step":1200,"recomputed_steps":3})"));
  EXPECT_THAT(lines, testing::IsSupersetOf({"  resumed from    step 1,200", "  recomputed      3 steps"}));
  EXPECT_THAT(
      FigureLines(*ParseSummary(R"({"status":"done","resumed_from_step":null,"recomputed_steps":0})")),
      testing::IsEmpty());
}

TEST(Summary, OtherTextIsRefused) {
  for (const char* text : {"", "{", "[]", "7", "{}", R"({"status":3})"}) {
    EXPECT_EQ(ParseSummary(text).status().code(), absl::StatusCode::kDataLoss) << text;
  }
}

TEST(Summary, ErrorsNameTheFile) {
  const TemporaryFolder folder;
  EXPECT_EQ(ReadSummary(folder.File("none")).status().code(), absl::StatusCode::kNotFound);
  std::ofstream(folder.File("bad")) << "bad";
  EXPECT_THAT(std::string(ReadSummary(folder.File("bad")).status().message()), HasSubstr(folder.File("bad")));
  EXPECT_THAT(std::string(WriteText(folder.File("none/s.json"), "{}").message()), HasSubstr("none/s.json"));
}

TEST(Summary, FilesThatCannotBeWrittenAreRefusedWithTheReason) {
  const TemporaryFolder folder;
  EXPECT_TRUE(CheckWritable(folder.File("new")).ok());
  EXPECT_FALSE(std::ifstream(folder.File("new")).good()) << "it was made";
  std::ofstream(folder.File("old")) << "old";
  EXPECT_TRUE(CheckWritable(folder.File("old")).ok());
  EXPECT_THAT(std::string(CheckWritable(folder.path()).message()), HasSubstr("Is a directory"));
  EXPECT_THAT(std::string(CheckWritable(folder.File("none/s.json")).message()),
              HasSubstr("none/s.json: No such file or directory"));
  EXPECT_THAT(std::string(CheckWritable(folder.File("old/s.json")).message()), HasSubstr("Not a directory"));
}

TEST(Summary, CopyIsTheSameText) {
  const TemporaryFolder folder;
  const std::string text = "{\"status\": \"done\"}\n";
  ASSERT_TRUE(WriteText(folder.File("copy"), text).ok());
  EXPECT_EQ(ReadSummary(folder.File("copy"))->text, text);
}

}  // namespace
}  // namespace tessera::cli

#include "cli/progress_view.h"

#include "gmock/gmock.h"
#include "tests/cli/job_status.h"

namespace tessera::cli {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr absl::Time kNow = absl::UnixEpoch();
constexpr absl::Duration kInterval = absl::Seconds(5);

class ProgressViewTest : public testing::Test {
 protected:
  TextSink Sink() {
    return [this](absl::string_view text) {
      text_.append(text.data(), text.size());
      ++writes_;
    };
  }
  // What was written since the last call.
  std::string Text() { return std::exchange(text_, ""); }

  std::string text_;
  int writes_ = 0;
  int width_ = 80;
  LiveView live_{Sink(), TextStyle{}, [this] { return width_; }};
  PlainView plain_{Sink(), kInterval};
};

TEST_F(ProgressViewTest, PlainLinesComeAtTheirInterval) {
  wire::JobStatus status = RunningStatus();
  status.clear_epochs_done();
  plain_.Update(status, kNow);
  plain_.Update(status, kNow + kInterval - absl::Milliseconds(1));
  EXPECT_EQ(Text(), "");
  plain_.Update(status, kNow + kInterval);
  EXPECT_EQ(Text(), ProgressLine(status) + "\n");
  plain_.Update(status, kNow + kInterval);
  EXPECT_EQ(Text(), "");
}

TEST_F(ProgressViewTest, PlainLinesOfOtherModesHaveOneMore) {
  wire::JobStatus status = SspStatus();
  status.clear_epochs_done();
  plain_.Update(status, kNow);
  plain_.Update(status, kNow + kInterval);
  EXPECT_EQ(Text(), ProgressLine(status) + "\n  " + ModeLine(status) + "\n");
  status.set_phase(wire::FINISHING);
  plain_.Update(status, kNow + 2 * kInterval);
  EXPECT_EQ(Text(), "collecting the weights\n");
}

TEST_F(ProgressViewTest, PlainEpochLinesComeAtOnceAndOnlyOnce) {
  const wire::JobStatus status = RunningStatus();
  plain_.Update(status, kNow);
  EXPECT_EQ(Text(), EpochLine(status, status.epochs_done(0)) + "\n" +
                        EpochLine(status, status.epochs_done(1)) + "\n");
  plain_.Update(status, kNow);
  EXPECT_EQ(Text(), "");
}

TEST_F(ProgressViewTest, PlainLinesHaveNoEscapes) {
  plain_.Update(RunningStatus(), kNow);
  plain_.Update(RunningStatus(), kNow + kInterval);
  plain_.Close();
  EXPECT_THAT(Text(), Not(HasSubstr("\x1b")));
}

TEST_F(ProgressViewTest, LiveFrameIsOneWriteThatLeavesTheCursorVisible) {
  live_.Update(RunningStatus(), kNow);
  EXPECT_EQ(writes_, 1);
  EXPECT_THAT(Text(), EndsWith("\x1b[?25h"));
}

TEST_F(ProgressViewTest, LiveFrameIsDrawnOverTheLastOne) {
  live_.Update(RunningStatus(), kNow);
  Text();
  live_.Update(RunningStatus(), kNow);
  EXPECT_THAT(Text(), HasSubstr("\x1b[4A"));
}

TEST_F(ProgressViewTest, LiveFrameOfANarrowedTerminalIsFoundAgain) {
  live_.Update(RunningStatus(), kNow);
  Text();
  width_ = 40;  // 38, 79, 65 and 48 columns now take 1, 2, 2 and 2 rows
  live_.Update(RunningStatus(), kNow);
  EXPECT_THAT(Text(), HasSubstr("\x1b[7A"));
}

TEST_F(ProgressViewTest, LiveNotesStayAboveTheFrame) {
  live_.Update(RunningStatus(), kNow);
  Text();
  live_.Note("a note");
  const std::string text = Text();
  EXPECT_LT(text.find("a note"), text.find("nodes alive"));
  EXPECT_NE(text.find("a note"), std::string::npos);
}

TEST_F(ProgressViewTest, AbsenceIsToldOnceInALog) {
  plain_.Away("no answer for 1 s");
  plain_.Away("no answer for 2 s");
  EXPECT_EQ(Text(), "no answer for 1 s\n");
  plain_.Update(RunningStatus(), kNow);
  Text();
  plain_.Away("no answer for 1 s");
  EXPECT_EQ(Text(), "no answer for 1 s\n");
}

TEST_F(ProgressViewTest, AbsenceIsALineUnderTheLastFrameUntilTheNextStatus) {
  live_.Update(RunningStatus(), kNow);
  Text();
  live_.Away("no answer for 1 s");
  live_.Away("no answer for 2 s");
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("nodes alive"));
  EXPECT_THAT(text, HasSubstr("\x1b[5A")) << "the second is drawn over the first";
  live_.Update(RunningStatus(), kNow);
  EXPECT_THAT(Text(), Not(HasSubstr("no answer")));
}

TEST_F(ProgressViewTest, LiveCloseTakesTheFrameAway) {
  live_.Update(RunningStatus(), kNow);
  Text();
  live_.Close();
  EXPECT_EQ(Text(), "\x1b[?25l\r\x1b[4A\r\x1b[J\x1b[?25h");
  live_.Close();
  EXPECT_EQ(Text(), "");
}

}  // namespace
}  // namespace tessera::cli

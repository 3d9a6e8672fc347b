#include "cli/process_group.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "tests/cli/children.h"
#include "tests/common/temporary_folder.h"

namespace tessera::cli {
namespace {

using testing::ElementsAre;

constexpr absl::Duration kLong = absl::Seconds(30);
bool Never() { return false; }

bool NoChildIsLeft() { return waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD; }

TEST(ProcessGroup, ReportsEachExitOnce) {
  ProcessGroup group;
  ASSERT_TRUE(group.Start(Shell("exit 0")).ok());
  ASSERT_TRUE(group.Start(Shell("exec sleep 60")).ok());
  ASSERT_TRUE(Ends(group.process(0).pidfd()));
  EXPECT_THAT(group.TakeExits(), ElementsAre(0));
  EXPECT_THAT(group.TakeExits(), ElementsAre());
}

TEST(ProcessGroup, ReportsTheKilledOnesFirst) {
  ProcessGroup group;
  ASSERT_TRUE(group.Start(Shell("exit 1")).ok());
  ASSERT_TRUE(group.Start(Shell("kill -9 $$")).ok());
  for (const size_t i : {0, 1}) ASSERT_TRUE(Ends(group.process(i).pidfd()));
  EXPECT_THAT(group.TakeExits(), ElementsAre(1, 0));
}

TEST(ProcessGroup, ReportsTheExitOfARestartedProcessToo) {
  ProcessGroup group;
  ASSERT_TRUE(group.Start(Shell("exit 0")).ok());
  ASSERT_TRUE(Ends(group.process(0).pidfd()));
  EXPECT_FALSE(group.exit_taken(0));
  group.TakeExits();
  EXPECT_TRUE(group.exit_taken(0));
  ASSERT_TRUE(group.Restart(0, Shell("exit 5")).ok());
  EXPECT_FALSE(group.exit_taken(0));
  ASSERT_TRUE(Ends(group.process(0).pidfd()));
  EXPECT_THAT(group.TakeExits(), ElementsAre(0));
  EXPECT_EQ(group.process(0).exit()->code, 5);
}

TEST(ProcessGroup, WaitEndsAtOnceForAnExitThatNobodyTook) {
  ProcessGroup group;
  ASSERT_TRUE(group.Start(Shell("exit 0")).ok());
  ASSERT_TRUE(Ends(group.process(0).pidfd()));
  ASSERT_FALSE(group.process(0).running());  // reaped, not taken
  group.Wait({}, absl::InfiniteDuration());
  EXPECT_THAT(group.TakeExits(), ElementsAre(0));
}

TEST(ProcessGroup, StopLetsChildrenEndByThemselves) {
  ProcessGroup group;
  ASSERT_TRUE(group.Start(Shell("exit 5")).ok());
  group.Stop({.voluntary = kLong, .terminate = kLong}, {}, &Never);
  EXPECT_EQ(group.process(0).exit()->code, 5);
  EXPECT_TRUE(NoChildIsLeft());
}

TEST(ProcessGroup, StopTerminatesWhoStays) {
  ProcessGroup group;
  ASSERT_TRUE(group.Start(Shell("exec sleep 60")).ok());
  group.Stop({.voluntary = absl::ZeroDuration(), .terminate = kLong}, {}, &Never);
  EXPECT_EQ(group.process(0).exit()->code, SIGTERM);
  EXPECT_TRUE(NoChildIsLeft());
}

TEST(ProcessGroup, StopKillsWhoIgnoresThat) {
  const TemporaryFolder folder;
  ProcessGroup group;
  ASSERT_EQ(mkfifo(folder.File("ready").c_str(), 0600), 0);
  ASSERT_TRUE(
      group.Start(Shell("trap '' TERM; echo > " + folder.File("ready") + "; while :; do sleep 60; done"))
          .ok());
  EXPECT_EQ(Contents(folder.File("ready")), "\n");  // blocks until the trap is set
  group.Stop({.voluntary = absl::ZeroDuration(), .terminate = absl::Milliseconds(1)}, {}, &Never);
  EXPECT_EQ(group.process(0).exit()->code, SIGKILL);
}

TEST(ProcessGroup, StopInAHurryKillsAtOnce) {
  ProcessGroup group;
  ASSERT_TRUE(group.Start(Shell("exec sleep 60")).ok());
  group.Stop({.voluntary = kLong, .terminate = kLong}, {}, [] { return true; });
  EXPECT_EQ(group.process(0).exit()->code, SIGKILL);
  EXPECT_TRUE(NoChildIsLeft());
}

}  // namespace
}  // namespace tessera::cli

#include "cli/chaos_player.h"

#include "gmock/gmock.h"

namespace tessera::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr absl::Time kNow = absl::UnixEpoch();
constexpr Place kServer = {PlaceKind::kServer, 1};
constexpr Place kWorker = {PlaceKind::kWorker, 0};
constexpr absl::Duration kPatience = absl::Seconds(30);

ChaosPlayer Player(const std::string& text) {
  return ChaosPlayer(*ParseChaosPlan(text, "plan", {.servers = 2, .workers = 2}));
}

bool Alive(const Place&) { return true; }
bool Dead(const Place&) { return false; }

TEST(ChaosPlayer, FaultsAreDueFromTheirStepOnInTheirOrder) {
  ChaosPlayer player =
      Player("kill server:1 @step 40; stop worker:0 @step 60 for 5s; kill coordinator @step 50");
  EXPECT_THAT(player.Due(39, &Alive), IsEmpty());
  EXPECT_THAT(player.Due(40, &Alive), ElementsAre(0));
  EXPECT_THAT(player.Due(70, &Alive), ElementsAre(0, 1, 2));
  player.OnInjected(0, 11, 70, kNow);
  EXPECT_THAT(player.Due(70, &Alive), ElementsAre(1, 2));
  EXPECT_TRUE(player.pending());
}

TEST(ChaosPlayer, RemembersWhatWasDoneToWhom) {
  ChaosPlayer player = Player("kill server:1 @step 40; kill coordinator @step 50");
  player.OnInjected(0, 11, 42, kNow);
  ASSERT_EQ(player.injections().size(), 1u);
  EXPECT_EQ(player.injections()[0].fault, "kill server:1 @step 40");
  EXPECT_EQ(player.injections()[0].node, "server:1");
  EXPECT_EQ(player.injections()[0].pid, 11);
  EXPECT_EQ(player.injections()[0].step, 42);
  EXPECT_EQ(player.injections()[0].when, kNow);
  EXPECT_THAT(player.Unfired(), ElementsAre("kill coordinator @step 50"));
  player.OnInjected(1, 12, 50, kNow);
  EXPECT_THAT(player.Unfired(), IsEmpty());
  EXPECT_FALSE(player.pending());
}

TEST(ChaosPlayer, KillsAndStopsWaitForALivingProcess) {
  ChaosPlayer player =
      Player("kill server:1 @step 4; stop server:1 @step 4 for 1s; restart server:1 @step 4");
  EXPECT_THAT(player.Due(4, &Dead), ElementsAre(2));
}

TEST(ChaosPlayer, StoppedProcessWakesOnceAfterItsPause) {
  ChaosPlayer player = Player("stop worker:0 @step 1 for 5s; stop worker:0 @step 2 for 1s");
  player.OnInjected(0, 7, 1, kNow);
  EXPECT_TRUE(player.Stopped(kWorker));
  EXPECT_FALSE(player.Stopped(kServer));
  EXPECT_THAT(player.Due(2, &Alive), IsEmpty()) << "it is stopped already";
  EXPECT_EQ(player.NextWake(), kNow + absl::Seconds(5));
  EXPECT_THAT(player.TakeWakes(kNow + absl::Seconds(4)), IsEmpty());
  const std::vector<ChaosPlayer::Wake> wakes = player.TakeWakes(kNow + absl::Seconds(5));
  ASSERT_EQ(wakes.size(), 1u);
  EXPECT_EQ(wakes[0].place, kWorker);
  EXPECT_EQ(wakes[0].pid, 7);
  EXPECT_FALSE(player.Stopped(kWorker));
  EXPECT_EQ(player.NextWake(), absl::InfiniteFuture());
  EXPECT_THAT(player.Due(2, &Alive), ElementsAre(1));
}

TEST(ChaosPlayer, StoppedProcessThatIsKilledDoesNotWake) {
  ChaosPlayer player = Player("stop worker:0 @step 1 for 5s; kill worker:0 @step 2");
  player.OnInjected(0, 7, 1, kNow);
  player.OnInjected(1, 7, 2, kNow);
  EXPECT_THAT(player.TakeWakes(absl::InfiniteFuture()), IsEmpty());
}

TEST(ChaosPlayer, KilledNodeIsHeldUntilItsRestart) {
  ChaosPlayer player = Player("kill server:1 @step 4; kill worker:0 @step 4; restart server:1 @step 9");
  EXPECT_FALSE(player.Holds(kServer)) << "it lives";
  player.OnInjected(0, 1, 4, kNow);
  player.OnInjected(1, 2, 4, kNow);
  EXPECT_TRUE(player.Holds(kServer));
  EXPECT_FALSE(player.Holds(kWorker)) << "the plan does not start it again";
  player.OnInjected(2, 1, 9, kNow);
  EXPECT_FALSE(player.Holds(kServer));
}

TEST(ChaosPlayer, KillAfterTheLastRestartHoldsNobody) {
  ChaosPlayer player = Player("restart server:1 @step 4; kill server:1 @step 9");
  player.OnInjected(0, 1, 4, kNow);
  player.OnInjected(1, 1, 9, kNow);
  EXPECT_FALSE(player.Holds(kServer));
}

TEST(ChaosPlayer, PlanThatKeepsTrainingFromItsNextStepIsStalled) {
  ChaosPlayer player = Player("kill server:1 @step 4; restart server:1 @step 9");
  EXPECT_EQ(player.Stalled(4, kPatience, kNow), std::nullopt);
  EXPECT_EQ(player.Stalled(4, kPatience, kNow + 2 * kPatience), std::nullopt) << "nobody is held";
  const absl::Time killed = kNow + 2 * kPatience;
  player.OnInjected(0, 1, 4, killed);
  EXPECT_EQ(player.Stalled(4, kPatience, killed + kPatience / 2), std::nullopt);
  EXPECT_EQ(player.Stalled(5, kPatience, killed + kPatience), std::nullopt) << "it goes on";
  EXPECT_EQ(player.Stalled(3, kPatience, killed + kPatience * 3 / 2), std::nullopt)
      << "a rewind is no progress";
  EXPECT_EQ(player.Stalled(5, kPatience, killed + 2 * kPatience),
            "training stands at step 5 without server:1, which the plan starts again at step 9");
}

}  // namespace
}  // namespace tessera::cli

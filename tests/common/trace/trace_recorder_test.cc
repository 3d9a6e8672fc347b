#include "common/trace/trace_recorder.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace tessera {
namespace {

TEST(TraceRecorder, ASpanIsItsBlock) {
  TraceRecorder recorder;
  const TraceTrack track = recorder.AddTrack("steps");
  const int64_t before = TraceNow();
  {
    const TraceSpan outer(track, TraceKind::kBackward, {.layer = recorder.Name("conv1"), .clock = 7});
    const TraceSpan inner(track, TraceKind::kPush);
  }
  const int64_t after = TraceNow();
  const TraceRecorder::Contents contents = recorder.contents();
  ASSERT_EQ(contents.events.size(), 2u);
  const TraceEvent& inner = contents.events[0];
  const TraceEvent& outer = contents.events[1];
  EXPECT_EQ(outer.kind, TraceKind::kBackward);
  EXPECT_EQ(contents.layers[static_cast<size_t>(outer.args.layer)], "conv1");
  EXPECT_EQ(outer.args.clock, 7);
  EXPECT_LE(before, outer.begin_ns);
  EXPECT_LE(outer.begin_ns, inner.begin_ns);
  EXPECT_LE(inner.begin_ns, inner.end_ns);
  EXPECT_LE(inner.end_ns, outer.end_ns);
  EXPECT_LE(outer.end_ns, after);
}

TEST(TraceRecorder, ANullTrackRecordsNothing) {
  const TraceTrack none;
  EXPECT_FALSE(none);
  const TraceSpan span(none, TraceKind::kForward);
}

TEST(TraceRecorder, KeepsTheFirstEventsAndCountsTheRest) {
  TraceRecorder recorder(/*max_events=*/5000);
  const TraceTrack track = recorder.AddTrack("steps");
  for (Clock clock = 0; clock < 5003; ++clock)
    const TraceSpan span(track, TraceKind::kStep, {.clock = clock});
  const TraceRecorder::Contents contents = recorder.contents();
  ASSERT_EQ(contents.events.size(), 5000u);
  for (Clock clock = 0; clock < 5000; ++clock)
    ASSERT_EQ(contents.events[static_cast<size_t>(clock)].args.clock, clock);
  EXPECT_EQ(contents.dropped, 3);
}

TEST(TraceRecorder, ANameHasOneNumber) {
  TraceRecorder recorder;
  const int32_t conv = recorder.Name("conv1");
  EXPECT_NE(recorder.Name("fc1"), conv);
  EXPECT_EQ(recorder.Name("conv1"), conv);
}

TEST(TraceRecorder, TracksMayGetTheirNameLater) {
  TraceRecorder recorder;
  recorder.AddTrack("steps");
  const TraceTrack peer = recorder.AddTrack("from a client");
  recorder.RenameTrack(peer, "from worker 1");
  EXPECT_EQ(recorder.contents().tracks, (std::vector<std::string>{"steps", "from worker 1"}));
}

TEST(TraceRecorder, ThreadsRecordAtOnce) {
  TraceRecorder recorder;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&recorder] {
      const TraceTrack track = recorder.AddTrack("thread");
      for (int k = 0; k < 3000; ++k) const TraceSpan span(track, TraceKind::kStep);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<int> by_track(4);
  for (const TraceEvent& event : recorder.contents().events) ++by_track[static_cast<size_t>(event.track)];
  EXPECT_EQ(by_track, (std::vector<int>{3000, 3000, 3000, 3000}));
}

}  // namespace
}  // namespace tessera

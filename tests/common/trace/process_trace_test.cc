#include "common/trace/process_trace.h"

#include <unistd.h>

#include <fstream>
#include <sstream>

#include "common/trace/exchange_trace.h"
#include "gmock/gmock.h"
#include "tests/common/temporary_folder.h"
#include "tests/common/trace/trace_reader.h"

namespace tessera {
namespace {

using testing::HasSubstr;

ShardLayout TwoLayers() {
  return *ShardLayout::Create(
      {{"conv1", ParameterKind::kWeight, {{"conv1.weight", {5}, ParameterKind::kWeight, {}}}},
       {"fc", ParameterKind::kWeight, {{"fc.weight", {2}, ParameterKind::kWeight, {}}}}},
      1 << 20);
}

Json EventsOf(const TraceRecorder& recorder, const std::string& process = "worker 3") {
  std::ostringstream text;
  WriteEvents(recorder.contents(), process, /*pid=*/42, text);
  return Json::parse(text.str());
}

TEST(ProcessTrace, NamesTheProcessAndItsTracks) {
  TraceRecorder recorder;
  recorder.AddTrack("steps");
  recorder.AddTrack("to \"server\"");
  const Json events = EventsOf(recorder);
  EXPECT_EQ(MetadataOf(events, "process_name", 42, 0), "worker 3");
  EXPECT_EQ(MetadataOf(events, "thread_name", 42, 1), "steps");
  EXPECT_EQ(MetadataOf(events, "thread_name", 42, 2), "to \"server\"");
}

TEST(ProcessTrace, SpansAreCompleteEventsInMicroseconds) {
  TraceRecorder recorder;
  const TraceTrack track = recorder.AddTrack("steps");
  TraceArgs args{.layer = recorder.Name("conv1"), .replicas = {2, 3}, .clock = 9};
  recorder.Record({TraceKind::kForward, track.id, 1'234'567'890'123, 1'234'567'895'129, args});
  const std::vector<Json> spans = Select(EventsOf(recorder), "X", "forward");
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0],
            Json::parse(R"({"ph": "X", "cat": "forward", "name": "forward conv1", "pid": 42, "tid": 1,
                                      "ts": 1234567890.123, "dur": 5.006,
                                      "args": {"layer": "conv1", "replicas": "2..3", "clock": 9}})"));
}

TEST(ProcessTrace, SpansOfAShardHaveItsLayer) {
  TraceRecorder recorder;
  recorder.NameShards(TwoLayers());
  { const TraceSpan span(recorder.AddTrack("from worker 0"), TraceKind::kApply, {.shard = 1, .bytes = 8}); }
  const std::vector<Json> spans = Select(EventsOf(recorder), "X", "apply");
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].at("name"), "apply fc");
  EXPECT_EQ(spans[0].at("args"), Json::parse(R"({"layer": "fc", "shard": 1, "bytes": 8})"));
}

TEST(ProcessTrace, MessagesThatWaitTogetherHaveNumbersOfTheirOwn) {
  TraceRecorder recorder;
  const auto trace = ExchangeTrace::To(&recorder, "server 0");
  ExchangeMessage message;
  message.kind = MessageKind::kPush;
  message.tensor = TensorBytes(std::make_shared<TensorBuffer>(3));
  message.queued_ns = 1000;
  trace.OnLeft(message);
  message.shard = 1;
  trace.OnLeft(message);
  const Json events = EventsOf(recorder);
  const std::vector<Json> begins = Select(events, "b", "queue"), ends = Select(events, "e", "queue");
  ASSERT_EQ(begins.size(), 2u);
  ASSERT_EQ(ends.size(), 2u);
  EXPECT_EQ(begins[0].at("ts"), 1.0);
  EXPECT_EQ(begins[0].at("args").at("message"), "push");
  EXPECT_EQ(begins[0].at("args").at("bytes"), 12);
  EXPECT_NE(begins[0].at("id2"), begins[1].at("id2"));
  for (size_t i : {0, 1}) EXPECT_EQ(begins[i].at("id2"), ends[i].at("id2"));
}

TEST(ProcessTrace, MessagesWithoutATensorAreNotTraced) {
  TraceRecorder recorder;
  const auto trace = ExchangeTrace::To(&recorder, "server 0");
  trace.OnLeft({});
  trace.OnReceived({}, 1);
  EXPECT_TRUE(recorder.contents().events.empty());
}

TEST(ProcessTrace, TellsHowManyEventsItLacks) {
  TraceRecorder recorder(/*max_events=*/1);
  const TraceTrack track = recorder.AddTrack("steps");
  for (int i = 0; i < 3; ++i) const TraceSpan span(track, TraceKind::kStep);
  std::string labels;
  for (const Json& event : Select(EventsOf(recorder), "M")) {
    if (event.at("name") == "process_labels") labels = event.at("args").at("labels");
  }
  EXPECT_EQ(labels, "without its last 2 events");
}

TEST(ProcessTrace, WritesItsFileAtTheEnd) {
  const TemporaryFolder folder;
  auto trace = ProcessTrace::Create(folder.File("trace.json"));
  ASSERT_TRUE(trace.ok()) << trace.status();
  { const TraceSpan span(trace->recorder()->AddTrack("steps"), TraceKind::kStep); }
  ASSERT_TRUE(trace->Write("worker 0").ok());
  std::ifstream file(folder.File("trace.json"));
  const Json events = Json::parse(file);
  EXPECT_EQ(Select(events, "X", "step").size(), 1u);
  EXPECT_EQ(MetadataOf(events, "process_name", getpid(), 0), "worker 0");
}

TEST(ProcessTrace, IsOffWithoutAPath) {
  auto trace = ProcessTrace::Create("");
  ASSERT_TRUE(trace.ok());
  EXPECT_EQ(trace->recorder(), nullptr);
  EXPECT_TRUE(trace->Write("worker 0").ok());
}

TEST(ProcessTrace, AFileThatCannotBeWrittenIsRefusedAtTheStart) {
  const auto trace = ProcessTrace::Create("/nonexistent/trace.json");
  EXPECT_EQ(trace.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(trace.status().message()), HasSubstr("/nonexistent/trace.json"));
}

}  // namespace
}  // namespace tessera

#include "common/trace/trace_merge.h"

#include <fstream>
#include <sstream>

#include "common/trace/process_trace.h"
#include "gmock/gmock.h"
#include "tests/common/temporary_folder.h"
#include "tests/common/trace/trace_reader.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr int64_t kWorker = 7;  // pids
constexpr int64_t kServer = 8;

class TraceMerge : public testing::Test {
 protected:
  TraceMerge() {
    worker_.AddTrack("to server 0");
    server_.AddTrack("from worker 0");
  }

  // A push of shard 2 at `clock` that was encoded, or received, from `begin` to `end`.
  static void Record(TraceRecorder& recorder, TraceKind kind, Clock clock, int64_t begin_ns, int64_t end_ns) {
    TraceArgs args{
        .layer = recorder.Name("fc1"), .shard = 2, .replicas = {0, 1}, .clock = clock, .message = "push"};
    recorder.Record({kind, 0, begin_ns, end_ns, args});
  }

  TracePart Part(const TraceRecorder& recorder, const std::string& process, int64_t pid) {
    const std::string path = folder_.File(process);
    std::ofstream file(path);
    WriteEvents(recorder.contents(), process, pid, file);
    return {process, path};
  }

  // Of both processes and `more`.
  Json Merge(std::vector<TracePart> more = {}) {
    more.push_back(Part(worker_, "worker 0", kWorker));
    more.push_back(Part(server_, "server 0", kServer));
    std::ostringstream text;
    merged_ = MergeTraces(more, text);
    return Json::parse(text.str()).at("traceEvents");
  }

  TemporaryFolder folder_;
  TraceRecorder worker_, server_;
  MergedTrace merged_;
};

TEST_F(TraceMerge, HasEveryProcessAndEvent) {
  Record(worker_, TraceKind::kBackward, 1, 1000, 2000);
  Record(server_, TraceKind::kApply, 1, 3000, 4000);
  const Json events = Merge();
  EXPECT_EQ(MetadataOf(events, "process_name", kWorker, 0), "worker 0");
  EXPECT_EQ(MetadataOf(events, "process_name", kServer, 0), "server 0");
  EXPECT_EQ(Select(events, "X", "backward").size(), 1u);
  EXPECT_EQ(Select(events, "X", "apply").size(), 1u);
  EXPECT_EQ(merged_.events, static_cast<int64_t>(events.size()));
  EXPECT_THAT(merged_.missing, IsEmpty());
  EXPECT_THAT(merged_.dropped, IsEmpty());
}

TEST_F(TraceMerge, AMessageIsOnTheWireFromItsSenderToItsReceiver) {
  Record(worker_, TraceKind::kEncode, 1, 1000, 2000);
  Record(server_, TraceKind::kReceive, 1, 5000, 6000);
  const Json events = Merge();
  const std::vector<Json> begins = Select(events, "b", "wire"), ends = Select(events, "e", "wire");
  ASSERT_EQ(begins.size(), 1u);
  ASSERT_EQ(ends.size(), 1u);
  EXPECT_EQ(begins[0].at("name"), "wire fc1");
  EXPECT_EQ(begins[0].at("pid"), kServer);
  EXPECT_EQ(begins[0].at("ts"), 2.0);
  EXPECT_EQ(ends[0].at("ts"), 5.0);
  EXPECT_EQ(begins[0].at("id2"), ends[0].at("id2"));
  EXPECT_EQ(begins[0].at("args"), Json::parse(R"({"layer": "fc1", "shard": 2, "replicas": "0..1", "clock": 1,
                                                  "message": "push", "from": "worker 0", "to": "server 0"})"));
}

TEST_F(TraceMerge, MessagesAreToldApartByWhatTheyAre) {
  Record(worker_, TraceKind::kEncode, 1, 1000, 2000);
  Record(worker_, TraceKind::kEncode, 2, 2000, 3000);
  Record(server_, TraceKind::kReceive, 2, 5000, 5500);  // overtook the first
  Record(server_, TraceKind::kReceive, 1, 6000, 6500);
  const Json events = Merge();
  const std::vector<Json> begins = Select(events, "b", "wire");
  ASSERT_EQ(begins.size(), 2u);
  EXPECT_EQ(begins[0].at("ts"), 3.0);
  EXPECT_EQ(begins[1].at("ts"), 2.0);
  EXPECT_NE(begins[0].at("id2"), begins[1].at("id2"));
}

TEST_F(TraceMerge, AMessageThatOneEndDidNotRecordIsNotOnTheWire) {
  Record(worker_, TraceKind::kEncode, 1, 1000, 2000);
  Record(server_, TraceKind::kReceive, 2, 5000, 6000);
  Record(server_, TraceKind::kReceive, 1, 500,
         600);  // before it was sent: another one, of which nothing is known
  EXPECT_THAT(Select(Merge(), "b", "wire"), IsEmpty());
}

TEST_F(TraceMerge, AProcessWithoutATraceIsNamed) {
  Record(worker_, TraceKind::kBackward, 1, 1000, 2000);
  std::ofstream(folder_.File("empty"));
  const Json events = Merge({{"worker 1", folder_.File("nowhere")}, {"worker 2", folder_.File("empty")}});
  EXPECT_THAT(merged_.missing, ElementsAre("worker 1", "worker 2"));
  EXPECT_EQ(Select(events, "X").size(), 1u);
}

TEST_F(TraceMerge, ADamagedTraceIsReadAsFarAsItGoes) {
  const std::string damaged = folder_.File("damaged");
  for (const std::string end : {"{\"ph\":\"X\",\"cat\":\"st", "7,", "{\"ph\":1},", "{\"ph\":\"M\"},", ""}) {
    std::ofstream(damaged) << "[\n{\"ph\":\"X\",\"cat\":\"step\",\"ts\":1,\"dur\":1},\n" << end;
    const Json events = Merge({{"worker 1", damaged}});
    EXPECT_THAT(merged_.missing, ElementsAre("worker 1")) << end;
    EXPECT_EQ(Select(events, "X", "step").size(), 1u) << end;
  }
}

TEST_F(TraceMerge, TellsWhoseLastEventsDidNotFit) {
  TraceRecorder small(/*max_events=*/1);
  small.AddTrack("steps");
  for (Clock clock : {1, 2, 3}) Record(small, TraceKind::kBackward, clock, 1000, 2000);
  Merge({Part(small, "worker 1", 9)});
  EXPECT_THAT(merged_.dropped, ElementsAre(Pair("worker 1", 2)));
}

TEST_F(TraceMerge, OfNothingIsAnEmptyTrace) {
  std::ostringstream text;
  EXPECT_EQ(MergeTraces({}, text).events, 0);
  EXPECT_THAT(Json::parse(text.str()).at("traceEvents"), IsEmpty());
}

}  // namespace
}  // namespace tessera

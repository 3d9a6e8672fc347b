#include "common/trace/process_trace.h"

#include <string.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tessera {
namespace {

// As a JSON string.
std::string Quoted(const std::string& text) {
  using Json = nlohmann::json;
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<std::string> AllQuoted(const std::vector<std::string>& texts) {
  std::vector<std::string> quoted;
  for (const std::string& text : texts) quoted.push_back(Quoted(text));
  return quoted;
}

std::string Microseconds(int64_t ns) { return absl::StrFormat("%d.%03d", ns / 1000, ns % 1000); }

// Writes the events of one process, a line each.
class EventWriter {
 public:
  EventWriter(const TraceRecorder::Contents& contents, int64_t pid, std::ostream& out)
      : layers_(AllQuoted(contents.layers)), shards_(AllQuoted(contents.shards)), pid_(pid), out_(out) {}

  void Metadata(const char* name, size_t tid, const std::string& args) {
    Line(absl::StrCat(R"({"ph":"M","name":")", name, R"(","pid":)", pid_, R"(,"tid":)", tid, R"(,"args":{)",
                      args, "}}"));
  }

  // A track's number from 1 on: 0 is the process itself.
  static size_t Tid(int32_t track) { return static_cast<size_t>(track) + 1; }

  void Event(const TraceEvent& event) {
    if (event.kind == TraceKind::kQueue) return Overlapping(event);
    Line(absl::StrCat(R"({"ph":"X",)", Head(event), R"(,"ts":)", Microseconds(event.begin_ns), R"(,"dur":)",
                      Microseconds(event.end_ns - event.begin_ns), Args(event), "}"));
  }

 private:
  // Spans of one track that overlap have a number each ("nestable async" events).
  void Overlapping(const TraceEvent& event) {
    const std::string head =
        absl::StrCat(Head(event), R"(,"id2":{"local":"0x)", absl::Hex(++overlapping_), R"("},"ts":)");
    Line(absl::StrCat(R"({"ph":"b",)", head, Microseconds(event.begin_ns), Args(event), "}"));
    Line(absl::StrCat(R"({"ph":"e",)", head, Microseconds(event.end_ns), "}"));
  }

  std::string Head(const TraceEvent& event) const {
    const std::string* layer = LayerOf(event.args);
    std::string head =
        absl::StrCat(R"("cat":")", KindName(event.kind), R"(","name":")", KindName(event.kind));
    // The layer's quoted name, without its first quote.
    absl::StrAppend(&head, layer == nullptr ? "\"" : absl::StrCat(" ", layer->substr(1)));
    absl::StrAppend(&head, R"(,"pid":)", pid_, R"(,"tid":)", Tid(event.track));
    return head;
  }

  std::string Args(const TraceEvent& event) const {
    const TraceArgs& args = event.args;
    std::string text;
    const auto add = [&text](const char* key, const auto& value) {
      absl::StrAppend(&text, text.empty() ? "" : ",", "\"", key, "\":", value);
    };
    if (const std::string* layer = LayerOf(args)) add("layer", *layer);
    if (args.message != nullptr) add("message", absl::StrCat("\"", args.message, "\""));
    if (args.shard >= 0) add("shard", args.shard);
    if (args.replicas.first >= 0) add("replicas", absl::StrCat("\"", ToString(args.replicas), "\""));
    if (args.clock >= 0) add("clock", args.clock);
    if (args.bytes >= 0) add("bytes", args.bytes);
    return absl::StrCat(R"(,"args":{)", text, "}");
  }

  const std::string* LayerOf(const TraceArgs& args) const {
    if (args.layer >= 0) return &layers_[static_cast<size_t>(args.layer)];
    const bool known = args.shard >= 0 && static_cast<size_t>(args.shard) < shards_.size();
    return known ? &shards_[static_cast<size_t>(args.shard)] : nullptr;
  }

  void Line(const std::string& event) {
    out_ << (first_ ? "[\n" : ",\n") << event;
    first_ = false;
  }

  const std::vector<std::string> layers_, shards_;
  const int64_t pid_;
  std::ostream& out_;
  bool first_ = true;
  int64_t overlapping_ = 0;
};

}  // namespace

absl::StatusOr<ProcessTrace> ProcessTrace::Create(const std::string& path) {
  ProcessTrace trace;
  if (path.empty()) return trace;
  trace.path_ = path;
  trace.file_.open(path, std::ios::binary | std::ios::trunc);
  if (!trace.file_)
    return absl::InvalidArgumentError(absl::StrCat("--trace: cannot write ", path, ": ", strerror(errno)));
  trace.recorder_ = std::make_unique<TraceRecorder>();
  return trace;
}

absl::Status ProcessTrace::Write(const std::string& process) {
  if (recorder_ == nullptr) return absl::OkStatus();
  WriteEvents(recorder_->contents(), process, getpid(), file_);
  file_.close();
  return file_ ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("--trace: cannot write ", path_));
}

void WriteEvents(const TraceRecorder::Contents& contents, const std::string& process, int64_t pid,
                 std::ostream& out) {
  EventWriter writer(contents, pid, out);
  writer.Metadata("process_name", 0, absl::StrCat("\"name\":", Quoted(process)));
  if (contents.dropped > 0) {
    writer.Metadata("process_labels", 0,
                    absl::StrCat(R"("labels":"without its last )", contents.dropped, R"( events","dropped":)",
                                 contents.dropped));
  }
  for (size_t track = 0; track < contents.tracks.size(); ++track) {
    const size_t tid = EventWriter::Tid(static_cast<int32_t>(track));
    writer.Metadata("thread_name", tid, absl::StrCat("\"name\":", Quoted(contents.tracks[track])));
    writer.Metadata("thread_sort_index", tid, absl::StrCat("\"sort_index\":", tid));
  }
  for (const TraceEvent& event : contents.events) writer.Event(event);
  out << "\n]\n";
}

}  // namespace tessera

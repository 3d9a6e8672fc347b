#include "common/trace/trace_merge.h"

#include <algorithm>
#include <deque>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace tessera {
namespace {

using Json = nlohmann::json;

// One end of a message's way.
struct End {
  std::string message;  // what it is
  double time = 0;      // microseconds
  std::string process;
};
struct Arrival : End {
  int64_t pid = 0;
  int64_t tid = 0;
  std::string args;  // JSON
};

std::string MessageOf(const Json& args) {
  return absl::StrCat(args.value("message", ""), " ", args.value("shard", -1), " ",
                      args.value("replicas", ""), " ", args.value("clock", int64_t{-1}));
}

class Merger {
 public:
  explicit Merger(std::ostream& out) : out_(out) { out_ << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":["; }

  void Add(const TracePart& part) {
    process_ = part.process;
    std::ifstream file(part.path, std::ios::binary);
    std::string line;
    bool whole = false;
    if (std::getline(file, line) && line == "[") {
      while (std::getline(file, line) && line != "]" && Take(line)) {
      }
      whole = line == "]";
    }
    if (!whole) merged_.missing.push_back(part.process);
  }

  MergedTrace Finish() {
    const auto earlier = [](const End& a, const End& b) { return a.time < b.time; };
    std::stable_sort(departures_.begin(), departures_.end(), earlier);
    std::stable_sort(arrivals_.begin(), arrivals_.end(), earlier);
    std::map<std::string, std::deque<const End*>> on_their_way;
    auto next = departures_.begin();
    for (const Arrival& arrival : arrivals_) {
      for (; next != departures_.end() && next->time <= arrival.time; ++next)
        on_their_way[next->message].push_back(&*next);
      std::deque<const End*>& same = on_their_way[arrival.message];
      if (same.empty()) continue;
      Wire(*same.front(), arrival);
      same.pop_front();
    }
    out_ << "\n]}\n";
    return std::move(merged_);
  }

 private:
  // One line of a part; false if it is damaged.
  bool Take(const std::string& line) {
    const std::string text(absl::StripSuffix(line, ","));
    const Json event = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    try {
      Note(event);
    } catch (const Json::exception&) {
      return false;  // not an object, or its fields are of other types
    }
    Write(text);
    return true;
  }

  void Note(const Json& event) {
    const std::string phase = event.at("ph"), kind = event.value("cat", "");
    if (phase == "M") {
      NoteMetadata(event);
    } else if (kind == "encode") {
      const double begin = event.at("ts"), duration = event.at("dur");
      departures_.push_back({MessageOf(event.at("args")), begin + duration, process_});
    } else if (kind == "receive") {
      const Json& args = event.at("args");
      arrivals_.push_back(
          {{MessageOf(args), event.at("ts"), process_}, event.at("pid"), event.at("tid"), args.dump()});
    }
  }

  void NoteMetadata(const Json& event) {
    const std::string name = event.at("name");
    if (name == "process_labels")
      merged_.dropped.emplace_back(process_, event.at("args").value("dropped", int64_t{0}));
    if (name != "process_name") return;
    // Viewers show the processes in the order of the parts.
    Write(Json{{"ph", "M"},
               {"name", "process_sort_index"},
               {"pid", event.at("pid")},
               {"args", {{"sort_index", ++processes_}}}}
              .dump());
  }

  void Wire(const End& from, const Arrival& to) {
    Json args = Json::parse(to.args);
    args["from"] = from.process;
    args["to"] = to.process;
    Json event = {{"ph", "b"},
                  {"cat", "wire"},
                  {"name", absl::StrCat("wire ", args.value("layer", ""))},
                  {"pid", to.pid},
                  {"tid", to.tid},
                  {"id2", {{"local", absl::StrFormat("0x1%08x", ++wires_)}}},  // no number of a part's own
                  {"ts", from.time},
                  {"args", std::move(args)}};
    Write(event.dump());
    event["ph"] = "e";
    event["ts"] = to.time;
    event.erase("args");
    Write(event.dump());
  }

  void Write(const std::string& event) { out_ << (merged_.events++ == 0 ? "\n" : ",\n") << event; }

  std::ostream& out_;
  MergedTrace merged_;
  std::string process_;  // whose part is being read
  std::vector<End> departures_;
  std::vector<Arrival> arrivals_;
  int processes_ = 0;
  int64_t wires_ = 0;
};

}  // namespace

MergedTrace MergeTraces(absl::Span<const TracePart> parts, std::ostream& out) {
  Merger merger(out);
  for (const TracePart& part : parts) merger.Add(part);
  return merger.Finish();
}

}  // namespace tessera

// What happened in a job, for the summary and the status page, and as lines for the log. Keeps lines until
// they are taken, so that whoever reports an event does no I/O. Not thread-safe.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "coordinator/run_summary.h"

namespace tessera {

struct LogLine {
  bool bad = false;  // a warning, a failure
  std::string text;
};

class EventLog {
 public:
  // Records an event and its line. Beyond kMostEvents there are lines only.
  void Add(JobEvent event);
  // An event of before, which needs no line.
  void Restore(JobEvent event) { events_.push_back(std::move(event)); }
  // A line that is no event. Beyond kMaxLines that nobody took, lines are dropped.
  void Line(std::string text, bool bad = false);

  const std::vector<JobEvent>& events() const { return events_; }
  // The lines since the last call.
  std::vector<LogLine> TakeLines();

  static constexpr size_t kMaxLines = 1000;
  static constexpr size_t kMostEvents = 10'000;

 private:
  std::vector<JobEvent> events_;
  std::vector<LogLine> lines_;
};

}  // namespace tessera

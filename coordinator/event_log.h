// What happened in a job, for the summary and the status page, and as lines for the log. Keeps lines until
// they are taken, so that whoever reports an event does no I/O. Not thread-safe.
#pragma once

#include <string>
#include <vector>

#include "coordinator/run_summary.h"

namespace tessera {

struct LogLine {
  bool bad = false;  // a warning, a failure
  std::string text;
};

class EventLog {
 public:
  // Records an event and its line.
  void Add(JobEvent event);
  // A line that is no event. Beyond kMaxLines that nobody took, lines are dropped.
  void Line(std::string text, bool bad = false);

  const std::vector<JobEvent>& events() const { return events_; }
  // The lines since the last call.
  std::vector<LogLine> TakeLines();

  static constexpr size_t kMaxLines = 1000;

 private:
  std::vector<JobEvent> events_;
  std::vector<LogLine> lines_;
};

}  // namespace tessera

#include "coordinator/event_log.h"

#include <utility>

namespace tessera {

void EventLog::Add(JobEvent event) {
  const bool bad = event.what == "death" || event.what == "failure" || event.what == "warning" ||
                   event.what == "rewind" || event.what == "parked" || event.what == "checkpoint failed";
  Line(event.message, bad);
  if (events_.size() < kMostEvents) events_.push_back(std::move(event));
}

void EventLog::Line(std::string text, bool bad) {
  if (lines_.size() < kMaxLines) lines_.push_back({bad, std::move(text)});
}

std::vector<LogLine> EventLog::TakeLines() { return std::exchange(lines_, {}); }

}  // namespace tessera

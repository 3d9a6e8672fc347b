// The trace of one daemon: its recorder from the start, its file at the end. The file is JSON in the trace
// event format of Chrome and Perfetto, an array with one event a line, which can be opened as it is or joined
// with others (trace_merge.h). Source: "Trace Event Format",
// docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.
#pragma once

#include <fstream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/trace/trace_recorder.h"

namespace tessera {

// Movable.
class ProcessTrace {
 public:
  // Makes the file; an empty `path` traces nothing. Errors: kInvalidArgument, the file cannot be written.
  static absl::StatusOr<ProcessTrace> Create(const std::string& path);

  // Null when nothing is traced. Stays where it is when this object moves.
  TraceRecorder* recorder() const { return recorder_.get(); }

  // Writes what has been recorded; `process` ("worker 0") names it. Once, at the end. Errors: kUnavailable,
  // the file cannot be written.
  absl::Status Write(const std::string& process);

 private:
  ProcessTrace() = default;
  std::string path_;
  std::ofstream file_;
  std::unique_ptr<TraceRecorder> recorder_;
};

// The lines of that file, with the comma or bracket that each ends with. `pid`: of the process.
void WriteEvents(const TraceRecorder::Contents& contents, const std::string& process, int64_t pid,
                 std::ostream& out);

}  // namespace tessera

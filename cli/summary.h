// What a run left in its summary.json, as far as the command shows it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tessera::cli {

struct Summary {
  std::string text;  // the whole file
  std::string job;
  std::string status;   // "done", "failed", "stopped"
  std::string message;  // why it failed or stopped
  std::string mode;
  int64_t epochs = 0;
  int64_t steps = 0;
  // Absent where the run does not know them.
  std::optional<double> test_accuracy, test_loss, train_loss;
  std::optional<double> images_per_second, wall_seconds;
  std::string weights_digest;
  // Of applied pushes, in versions; no bound: none.
  std::optional<double> staleness_mean, staleness_max, staleness_bound, clock_lead;
  int64_t dropped = 0;                      // minibatches
  std::optional<double> resumed_from_step;  // of a run that went on with an earlier one
  int64_t recomputed_steps = 0;

  bool done() const { return status == "done"; }
};

// Errors: kDataLoss, `text` is not a summary.
absl::StatusOr<Summary> ParseSummary(std::string text);

// Errors: kNotFound, no such file; kDataLoss, not a summary; both name the path.
absl::StatusOr<Summary> ReadSummary(const std::string& path);

// Errors: kUnavailable, names the path.
absl::Status WriteText(const std::string& path, absl::string_view text);

// Whether WriteText could write there now; nothing is opened or made. Errors: kInvalidArgument, names the
// path and why not.
absl::Status CheckWritable(const std::string& path);

// "finished: test accuracy 0.9092, test loss 0.2531, 5 epochs in 41 s", "failed: ...", "stopped after 120
// steps: ...".
// `total_steps`: of the job, where known: "stopped after 120 of 400 steps: ...".
std::string OutcomeLine(const Summary& summary, int64_t total_steps = 0);

// The figures of a finished run, one per line. Staleness where replicas do not keep step, drops where there
// were any.
std::vector<std::string> FigureLines(const Summary& summary);

}  // namespace tessera::cli

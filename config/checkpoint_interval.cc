#include "config/checkpoint_interval.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "config/field_types.h"
#include "config/key_errors.h"

namespace tessera {
namespace {

using Unit = CheckpointSpec::Unit;

constexpr char kNever[] = "never";
constexpr int64_t kMaxCount = int64_t{1} << 40;

absl::Duration MinTime() { return absl::Milliseconds(100); }
absl::Duration MaxTime() { return absl::Hours(1000); }

std::optional<Unit> CountedUnit(const std::string& word) {
  if (word == "epoch" || word == "epochs") return Unit::kEpochs;
  if (word == "step" || word == "steps") return Unit::kSteps;
  return std::nullopt;
}

std::string Counted(int64_t count, absl::string_view unit) {
  return absl::StrCat(count, " ", unit, count == 1 ? "" : "s");
}

bool IsDigits(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
}

}  // namespace

int64_t CheckpointEverySteps(const JobSpec& job, int64_t steps_per_epoch) {
  const CheckpointSpec& checkpoint = job.checkpoint;
  if (checkpoint.unit == Unit::kSteps) return checkpoint.count;
  if (checkpoint.unit != Unit::kEpochs) return 0;
  int64_t steps = 0;
  const bool overflows = __builtin_mul_overflow(checkpoint.count, steps_per_epoch, &steps);
  return overflows ? std::numeric_limits<int64_t>::max() : steps;
}

absl::Status ReadCheckpointInterval(const std::string& path, const YamlNode& value,
                                    CheckpointSpec& checkpoint) {
  constexpr char kType[] = "`1 epoch`, `100 steps`, a time as `30s`, or `never`";
  if (!value.is_scalar() || value.text.empty()) return TypeError(path, kType, value);
  if (value.text == kNever) {
    checkpoint.unit = Unit::kNever;
    return absl::OkStatus();
  }
  const std::vector<std::string> words = absl::StrSplit(value.text, ' ', absl::SkipWhitespace());
  const std::optional<Unit> unit = words.size() == 2 ? CountedUnit(words[1]) : std::nullopt;
  if (unit.has_value() && IsDigits(words[0])) {
    checkpoint.unit = *unit;
    const bool fits = absl::SimpleAtoi(words[0], &checkpoint.count) && checkpoint.count >= 1 &&
                      checkpoint.count <= kMaxCount;
    return fits ? absl::OkStatus() : RangeError(path, CheckpointIntervalRange(), value);
  }
  absl::Duration time;
  if (!absl::ParseDuration(value.text, &time)) return TypeError(path, kType, value);
  if (time < MinTime() || time > MaxTime()) return RangeError(path, CheckpointIntervalRange(), value);
  checkpoint.unit = Unit::kTime;
  checkpoint.time = time;
  return absl::OkStatus();
}

std::string FormatCheckpointInterval(const CheckpointSpec& checkpoint) {
  switch (checkpoint.unit) {
    case Unit::kEpochs:
      return Counted(checkpoint.count, "epoch");
    case Unit::kSteps:
      return Counted(checkpoint.count, "step");
    case Unit::kTime:
      return absl::FormatDuration(checkpoint.time);
    case Unit::kNever:
      break;
  }
  return kNever;
}

std::string CheckpointIntervalRange() {
  return absl::StrCat("from 1 epoch or step, or from ", absl::FormatDuration(MinTime()), " to ",
                      absl::FormatDuration(MaxTime()));
}

}  // namespace tessera

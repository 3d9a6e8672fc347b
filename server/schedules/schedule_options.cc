#include "server/schedules/schedule_options.h"

#include <cmath>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status.h"

namespace tessera {
namespace {

std::optional<double> ParseSteps(const std::string& text, const ScheduleContext& context) {
  const std::vector<std::string> words = absl::StrSplit(text, ' ', absl::SkipWhitespace());
  double number = 0;
  if (words.size() != 2 || !absl::SimpleAtod(words[0], &number)) return std::nullopt;
  if (words[1] == "epoch" || words[1] == "epochs") {
    number *= context.steps_per_epoch;
  } else if (words[1] != "step" && words[1] != "steps") {
    return std::nullopt;
  }
  if (!std::isfinite(number) || number < 0) return std::nullopt;
  return number;
}

absl::StatusOr<double> StepsOf(const Options& options, absl::string_view name, const std::string& text,
                               const ScheduleContext& context) {
  const std::optional<double> steps = ParseSteps(text, context);
  if (steps.has_value()) return *steps;
  return options.Error(
      name,
      absl::StrCat("`", name, "` must be a number of steps or epochs, as in `100 steps`, not `", text, "`"));
}

}  // namespace

absl::StatusOr<double> ReadSteps(Options& options, absl::string_view name, absl::string_view fallback,
                                 const ScheduleContext& context) {
  TESSERA_ASSIGN_OR_RETURN(const std::string text, options.String(name, fallback));
  return StepsOf(options, name, text, context);
}

absl::StatusOr<double> ReadRequiredSteps(Options& options, absl::string_view name,
                                         const ScheduleContext& context) {
  TESSERA_ASSIGN_OR_RETURN(const std::string text, options.RequiredString(name));
  return StepsOf(options, name, text, context);
}

absl::StatusOr<std::vector<double>> ReadRisingSteps(Options& options, absl::string_view name,
                                                    const ScheduleContext& context) {
  TESSERA_ASSIGN_OR_RETURN(const std::vector<std::string> texts, options.StringList(name));
  if (texts.empty()) {
    return options.Error(name,
                         absl::StrCat("`", name, "` must name at least one, as in `[5 epochs, 8 epochs]`"));
  }
  std::vector<double> rising;
  for (const std::string& text : texts) {
    TESSERA_ASSIGN_OR_RETURN(const double steps, StepsOf(options, name, text, context));
    if (steps <= (rising.empty() ? 0 : rising.back())) {
      return options.Error(name, absl::StrCat("`", name, "` must rise from above 0: `", text, "` does not"));
    }
    rising.push_back(steps);
  }
  return rising;
}

absl::StatusOr<double> ReadGamma(Options& options) {
  TESSERA_ASSIGN_OR_RETURN(const double gamma, options.Number("gamma", 0.1, 0, 1));
  if (gamma == 0) return options.Error("gamma", "`gamma` must be above 0");
  return gamma;
}

}  // namespace tessera

#include "common/units.h"

#include <algorithm>
#include <array>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace tessera {
namespace {

struct Unit {
  const char* name;
  int64_t bytes;
};

// The first of equally short forms is the one that FormatBytes prints.
constexpr std::array<Unit, 9> kUnits = {{{"TiB", int64_t{1} << 40},
                                         {"GiB", int64_t{1} << 30},
                                         {"MiB", int64_t{1} << 20},
                                         {"KiB", int64_t{1} << 10},
                                         {"TB", 1'000'000'000'000},
                                         {"GB", 1'000'000'000},
                                         {"MB", 1'000'000},
                                         {"KB", 1'000},
                                         {"B", 1}}};

absl::Status SizeError(absl::string_view text, absl::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat("`", text, "` is no size: ", problem, " (a size is like `512KiB`, `1MB` or `100B`)"));
}

}  // namespace

absl::StatusOr<int64_t> ParseBytes(absl::string_view text) {
  const absl::string_view trimmed = absl::StripAsciiWhitespace(text);
  const auto unit_start = std::find_if_not(trimmed.begin(), trimmed.end(), absl::ascii_isdigit);
  const absl::string_view digits = trimmed.substr(0, unit_start - trimmed.begin());
  const absl::string_view suffix = absl::StripLeadingAsciiWhitespace(trimmed.substr(digits.size()));
  if (absl::StartsWith(trimmed, "-")) return SizeError(text, "it is negative");
  if (digits.empty()) return SizeError(text, "it does not start with a whole number");
  int64_t scale = 1;
  if (!suffix.empty()) {
    const auto unit =
        std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& known) { return suffix == known.name; });
    if (unit == kUnits.end()) return SizeError(text, absl::StrCat("no such unit `", suffix, "`"));
    scale = unit->bytes;
  }
  int64_t count = 0;
  int64_t bytes = 0;
  if (!absl::SimpleAtoi(digits, &count) || __builtin_mul_overflow(count, scale, &bytes)) {
    return SizeError(text, "it does not fit 63 bits");
  }
  return bytes;
}

std::string FormatBytes(int64_t bytes) {
  std::string shortest;
  for (const Unit& unit : kUnits) {
    if (bytes % unit.bytes != 0 || (bytes == 0 && unit.bytes != 1)) continue;
    std::string text = absl::StrCat(bytes / unit.bytes, unit.name);
    if (shortest.empty() || text.size() < shortest.size()) shortest = std::move(text);
  }
  return shortest;
}

absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text) {
  constexpr char kExample[] = " (a time is like `30s`, `500ms`, `2m` or `1h`)";
  const absl::string_view trimmed = absl::StripAsciiWhitespace(text);
  double number = 0;
  if (absl::SimpleAtod(trimmed, &number)) {
    return absl::InvalidArgumentError(absl::StrCat("`", text, "` has no unit", kExample));
  }
  absl::Duration duration;
  if (!absl::ParseDuration(trimmed, &duration) || duration == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("`", text, "` is no time", kExample));
  }
  if (duration < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("`", text, "` is negative", kExample));
  }
  return duration;
}

}  // namespace tessera

#include "cli/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tessera::cli {
namespace {

constexpr char kEscape = '\x1b';
constexpr char kReset[] = "\x1b[0m";

const char* ColorOf(Tone tone) {
  switch (tone) {
    case Tone::kBold:
      return "\x1b[1m";
    case Tone::kDim:
      return "\x1b[2m";
    case Tone::kGood:
      return "\x1b[32m";
    case Tone::kBad:
      return "\x1b[31m";
    case Tone::kPlain:
      break;
  }
  return "";
}

// Bytes of the escape sequence or UTF-8 character that `text` starts with; `columns` is what it takes.
size_t NextUnit(absl::string_view text, int* columns) {
  size_t length = 1;
  if (text[0] == kEscape) {
    *columns = 0;
    while (length < text.size() && !absl::ascii_isalpha(text[length])) ++length;
    return std::min(length + 1, text.size());
  }
  *columns = 1;
  while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) ++length;
  return length;
}

std::string Repeat(absl::string_view unit, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) absl::StrAppend(&text, unit);
  return text;
}

}  // namespace

std::string Paint(const TextStyle& style, Tone tone, absl::string_view text) {
  if (!style.color || tone == Tone::kPlain) return std::string(text);
  return absl::StrCat(ColorOf(tone), text, kReset);
}

std::string FormatCount(double value) {
  if (!std::isfinite(value)) return "?";
  std::string digits = absl::StrFormat("%.0f", value);
  const int first = digits.front() == '-' ? 1 : 0;
  for (int at = static_cast<int>(digits.size()) - 3; at > first; at -= 3)
    digits.insert(static_cast<size_t>(at), 1, ',');
  return digits;
}

std::string FormatSeconds(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  const int64_t whole = std::llround(std::max(seconds, 0.0));
  if (whole < 60) return absl::StrCat(whole, " s");
  if (whole < 3600) return absl::StrFormat("%d min %02d s", whole / 60, whole % 60);
  return absl::StrFormat("%d h %02d min", whole / 3600, whole / 60 % 60);
}

std::string FormatLoss(double loss) {
  if (!std::isfinite(loss)) return "nan";
  return std::abs(loss) < 100 ? absl::StrFormat("%.4f", loss) : absl::StrFormat("%.4g", loss);
}

std::string FormatAccuracy(double accuracy) {
  return std::isfinite(accuracy) ? absl::StrFormat("%.4f", accuracy) : std::string("nan");
}

std::string FormatSize(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return absl::StrFormat("%.*f %s", value < 10 && unit > 0 ? 1 : 0, value, kUnits[unit]);
}

std::string FormatExact(double value) {
  char digits[64];
  const std::to_chars_result result = std::to_chars(digits, digits + sizeof(digits), value);
  return std::string(digits, result.ptr);
}

int DisplayWidth(absl::string_view text) {
  int width = 0;
  while (!text.empty()) {
    int columns;
    text.remove_prefix(NextUnit(text, &columns));
    width += columns;
  }
  return width;
}

std::string FitWidth(absl::string_view text, int width) {
  std::string fitted;
  int used = 0;
  bool colored = false;
  while (!text.empty()) {
    int columns;
    const size_t bytes = NextUnit(text, &columns);
    if (used + columns > width) {
      if (colored) fitted += kReset;
      break;
    }
    colored = colored || columns == 0;
    fitted.append(text.data(), bytes);
    text.remove_prefix(bytes);
    used += columns;
  }
  return fitted;
}

std::string FormatBar(const TextStyle& style, double fraction, int width) {
  const double share = std::isfinite(fraction) ? std::clamp(fraction, 0.0, 1.0) : 0.0;
  const int filled = static_cast<int>(share * width);
  return absl::StrCat(Paint(style, Tone::kGood, Repeat(style.unicode ? "━" : "#", filled)),
                      Paint(style, Tone::kDim, Repeat(style.unicode ? "─" : ".", width - filled)));
}

}  // namespace tessera::cli

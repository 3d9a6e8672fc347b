// Numbers and lines as people read them. Pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tessera::cli {

// How a terminal wants its text.
struct TextStyle {
  bool color = false;
  bool unicode = false;
};

enum class Tone { kPlain, kBold, kDim, kGood, kBad };

// `text` in the tone's colour, or as it is without colours.
std::string Paint(const TextStyle& style, Tone tone, absl::string_view text);

// "5,012"; rounded.
std::string FormatCount(double value);
// "41 s", "2 min 05 s", "1 h 02 min".
std::string FormatSeconds(double seconds);
// "0.3121", "1.234e+05", "nan".
std::string FormatLoss(double loss);
// Four decimals: "0.8931", "nan".
std::string FormatAccuracy(double accuracy);
// "512 KiB", "1.7 MiB".
std::string FormatSize(int64_t bytes);
// The shortest decimal that reads back as the same double.
std::string FormatExact(double value);

// Columns that `text` takes: UTF-8 characters, colours not counted.
int DisplayWidth(absl::string_view text);
// At most `width` columns of `text`; colours that are open at the cut are closed.
std::string FitWidth(absl::string_view text, int width);

// A bar `width` columns wide, `fraction` (0..1) of it filled.
std::string FormatBar(const TextStyle& style, double fraction, int width);

}  // namespace tessera::cli

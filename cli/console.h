// Where the command writes, and what is known of who reads it.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cli/text.h"

namespace tessera::cli {

// Plain data; tests put strings behind the sinks.
struct Console {
  std::function<void(absl::string_view)> out;  // text as it is to appear, at once
  std::function<void(absl::string_view)> err;
  bool live = false;                               // `out` is a terminal that lines can be redrawn on
  TextStyle style;                                 // of `out`
  std::function<int()> width = [] { return 80; };  // columns of `out`

  void Line(absl::string_view line) const;
  // The one line of an error: "tessera: ...".
  void Error(absl::string_view message) const;
};

// This process's stdout and stderr. Colours on a terminal, unless NO_COLOR is set (https://no-color.org) or
// TERM is "dumb"; lines drawn beyond ASCII where the locale is UTF-8.
Console ProcessConsole();

}  // namespace tessera::cli

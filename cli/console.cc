#include "cli/console.h"

#include <langinfo.h>
#include <locale.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"

namespace tessera::cli {
namespace {

constexpr int kUnknownWidth = 80;
constexpr int kNarrowest = 20;

// What cannot be written is lost: nobody is there to tell.
void WriteAll(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno != EINTR) return;
    if (written > 0) text.remove_prefix(static_cast<size_t>(written));
  }
}

int TerminalWidth() {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUnknownWidth;
  return size.ws_col < kNarrowest ? kNarrowest : size.ws_col;
}

absl::string_view Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

void Console::Line(absl::string_view line) const { out(absl::StrCat(line, "\n")); }

void Console::Error(absl::string_view message) const { err(absl::StrCat("tessera: ", message, "\n")); }

Console ProcessConsole() {
  setlocale(LC_CTYPE, "");
  Console console;
  console.out = [](absl::string_view text) { WriteAll(STDOUT_FILENO, text); };
  console.err = [](absl::string_view text) { WriteAll(STDERR_FILENO, text); };
  console.live = isatty(STDOUT_FILENO) != 0 && Variable("TERM") != "dumb" && !Variable("TERM").empty();
  console.style.color = console.live && Variable("NO_COLOR").empty();
  console.style.unicode = absl::string_view(nl_langinfo(CODESET)) == "UTF-8";
  console.width = &TerminalWidth;
  return console;
}

}  // namespace tessera::cli

#include "cli/progress_view.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tessera::cli {
namespace {

constexpr char kHideCursor[] = "\x1b[?25l";
constexpr char kShowCursor[] = "\x1b[?25h";
constexpr char kClearToEndOfLine[] = "\x1b[K";
constexpr char kClearBelow[] = "\x1b[J";

}  // namespace

void PlainView::Update(const wire::JobStatus& status, absl::Time now) {
  away_ = false;
  const std::vector<std::string> news = news_.Take(status);
  for (const std::string& line : news) Note(line);
  // The first status is no news: nodes always take a moment to come.
  if (next_line_ == absl::InfinitePast() || !news.empty()) {
    next_line_ = now + interval_;
  } else if (now >= next_line_ && status.phase() <= wire::FINISHING) {
    Note(ProgressLine(status));
    const std::string mode = status.phase() == wire::RUNNING ? ModeLine(status) : "";
    if (!mode.empty()) Note(absl::StrCat("  ", mode));
    next_line_ = now + interval_;
  }
}

void PlainView::Away(absl::string_view words) {
  if (!away_) Note(words);
  away_ = true;
}

void PlainView::Note(absl::string_view line) { sink_(absl::StrCat(line, "\n")); }

LiveView::LiveView(TextSink sink, const TextStyle& style, std::function<int()> width)
    : sink_(std::move(sink)), style_(style), width_(std::move(width)) {}

void LiveView::Update(const wire::JobStatus& status, absl::Time) {
  // The last column stays free: some terminals wrap as soon as it is written.
  frame_ = LiveFrame(status, style_, width_() - 1);
  Draw(news_.Take(status), frame_);
}

void LiveView::Away(absl::string_view words) {
  std::vector<std::string> block = frame_;
  block.push_back(FitWidth(Paint(style_, Tone::kBad, words), width_() - 1));
  Draw({}, std::move(block));
}

void LiveView::Note(absl::string_view line) { Draw({std::string(line)}, block_); }

void LiveView::Close() {
  if (!block_.empty()) Draw({}, {});
}

void LiveView::Draw(const std::vector<std::string>& lasting, std::vector<std::string> block) {
  std::string text = kHideCursor;
  if (const int rows = RowsOf(block_, width_()); rows > 0) absl::StrAppend(&text, "\r\x1b[", rows, "A");
  text += "\r";
  for (const auto* lines : {&lasting, static_cast<const std::vector<std::string>*>(&block)}) {
    for (const std::string& line : *lines) absl::StrAppend(&text, line, kClearToEndOfLine, "\n");
  }
  absl::StrAppend(&text, kClearBelow, kShowCursor);
  sink_(text);
  block_ = std::move(block);
}

// A terminal made narrower since then has wrapped the lines.
int LiveView::RowsOf(const std::vector<std::string>& block, int width) const {
  int rows = 0;
  for (const std::string& line : block) rows += 1 + std::max(DisplayWidth(line) - 1, 0) / std::max(width, 1);
  return rows;
}

}  // namespace tessera::cli

// Shows a running job, on a terminal or in a log.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cli/progress_text.h"
#include "cli/text.h"
#include "proto/coordinator_service.pb.h"

namespace tessera::cli {

// Takes text as it is to appear, at once.
using TextSink = std::function<void(absl::string_view)>;

// Not thread-safe.
class ProgressView {
 public:
  virtual ~ProgressView() = default;
  // `now` only paces the lines.
  virtual void Update(const wire::JobStatus& status, absl::Time now) = 0;
  // No status comes; `words` say since when or why. Until the next Update().
  virtual void Away(absl::string_view words) = 0;
  // A line that stays.
  virtual void Note(absl::string_view line) = 0;
  // Leaves the cursor at the start of an empty line. Nothing may be shown afterwards but by Note().
  // Idempotent.
  virtual void Close() = 0;
};

// Lines: every epoch's end and warning, and once that no status comes; otherwise how far the job is, or for
// whom it waits, every `interval`.
class PlainView : public ProgressView {
 public:
  PlainView(TextSink sink, absl::Duration interval) : sink_(std::move(sink)), interval_(interval) {}
  void Update(const wire::JobStatus& status, absl::Time now) override;
  void Away(absl::string_view words) override;
  void Note(absl::string_view line) override;
  void Close() override {}

 private:
  const TextSink sink_;
  const absl::Duration interval_;
  ProgressNews news_;
  absl::Time next_line_ = absl::InfinitePast();  // InfinitePast: no status has come yet
  bool away_ = false;
};

// A block of lines that is drawn over itself; lasting lines scroll away above it. Each drawing is one write,
// without clearing first, so it does not flicker, and the cursor is hidden only within it.
class LiveView : public ProgressView {
 public:
  // `width`: the terminal's columns now.
  LiveView(TextSink sink, const TextStyle& style, std::function<int()> width);
  ~LiveView() override { Close(); }
  void Update(const wire::JobStatus& status, absl::Time now) override;
  void Away(absl::string_view words) override;
  void Note(absl::string_view line) override;
  void Close() override;

 private:
  // Draws `lasting` where the block is, then `block` under them.
  void Draw(const std::vector<std::string>& lasting, std::vector<std::string> block);
  int RowsOf(const std::vector<std::string>& block, int width) const;

  const TextSink sink_;
  const TextStyle style_;
  const std::function<int()> width_;
  ProgressNews news_;
  std::vector<std::string> frame_;  // of the last status
  std::vector<std::string> block_;  // on the screen now
};

}  // namespace tessera::cli

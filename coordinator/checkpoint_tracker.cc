#include "coordinator/checkpoint_tracker.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/text.h"

namespace tessera {
namespace {

constexpr size_t kSha256Bytes = 32;
constexpr size_t kMostNameBytes = 255;

bool IsPlainName(const std::string& name) {
  return !name.empty() && name.size() <= kMostNameBytes && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos && name != "." && name != "..";
}

std::vector<ShardId> ShardsOf(const wire::CheckpointFile& file) {
  std::vector<ShardId> shards(file.shards().begin(), file.shards().end());
  std::sort(shards.begin(), shards.end());
  return shards;
}

// Some of `held`, each once; none only of nothing.
bool HasSomeOf(absl::Span<const ShardId> held, const wire::CheckpointFile& file) {
  const std::vector<ShardId> shards = ShardsOf(file);
  return std::adjacent_find(shards.begin(), shards.end()) == shards.end() &&
         std::includes(held.begin(), held.end(), shards.begin(), shards.end()) &&
         shards.empty() == held.empty();
}

bool HasAllOf(const wire::CheckpointFile& other, const wire::CheckpointFile& file) {
  const std::vector<ShardId> shards = ShardsOf(file), wanted = ShardsOf(other);
  return std::includes(shards.begin(), shards.end(), wanted.begin(), wanted.end());
}

bool HaveCommon(const wire::CheckpointFile& a, const wire::CheckpointFile& b) {
  return std::find_first_of(a.shards().begin(), a.shards().end(), b.shards().begin(), b.shards().end()) !=
         a.shards().end();
}

// Bounds what is remembered.
void Remember(Clock clock, std::set<Clock>* clocks) {
  clocks->insert(clock);
  if (clocks->size() > CheckpointTracker::kMostUnderWay) clocks->erase(clocks->begin());
}

}  // namespace

absl::StatusOr<bool> CheckpointTracker::AddPart(Clock clock, const wire::CheckpointFile& file,
                                                absl::Span<const ShardId> held) {
  if (clock < 1 || clock > options_.total_steps || file.bytes() < 0 || !IsPlainName(file.name()) ||
      file.sha256().size() != kSha256Bytes || !HasSomeOf(held, file)) {
    return absl::InvalidArgumentError(absl::StrCat("reports a part of a checkpoint at clock ", clock, ", `",
                                                   PrintableLine(file.name().substr(0, kMostNameBytes)),
                                                   "` of ", file.bytes(), " bytes with ", file.shards_size(),
                                                   " shards, which cannot be"));
  }
  if (failed_.count(clock) > 0 || finished_.count(clock) > 0 || held.empty()) return false;
  std::vector<wire::CheckpointFile>& files = under_way_[clock];
  std::vector<wire::CheckpointFile> others;
  for (const wire::CheckpointFile& known : files) {
    if (HasAllOf(file, known)) return false;
    if (!HaveCommon(file, known)) {
      others.push_back(known);
    } else if (!HasAllOf(known, file)) {
      return absl::AbortedError(absl::StrCat("`", file.name(), "` and `", known.name(),
                                             "` have a shard in common, after a takeover, and others not"));
    }
  }
  files = std::move(others);
  files.push_back(file);
  MarkIfWhole(clock);
  if (under_way_.size() > kMostUnderWay) under_way_.erase(under_way_.begin());
  return true;
}

void CheckpointTracker::MarkIfWhole(Clock clock) {
  if (!IsWhole(under_way_[clock])) return;
  whole_.push_back(clock);
  if (clock == requested_clock_) requested_clock_ = 0;
}

bool CheckpointTracker::IsWhole(const std::vector<wire::CheckpointFile>& files) const {
  size_t shards = 0;
  for (const wire::CheckpointFile& file : files) shards += file.shards_size();
  return shards == options_.shards;
}

bool CheckpointTracker::AddFailure(Clock clock, Clock largest, Clock lead) {
  if (clock < 1 || clock > options_.total_steps || failed_.count(clock) > 0) return false;
  Remember(clock, &failed_);
  under_way_.erase(clock);
  if (clock != requested_clock_) return true;
  requested_clock_ = 0;
  const Clock next = std::max(largest, clock) + (lead << tries_);
  if (++tries_ >= kMostTries || next > options_.total_steps) return true;
  requested_clock_ = next;
  return false;
}

absl::StatusOr<Clock> CheckpointTracker::Request(Clock largest, Clock lead) {
  if (requested_clock_ > 0) return requested_clock_;
  if (largest > options_.total_steps - lead) {
    return absl::FailedPreconditionError(
        absl::StrCat("the job is about to end: step ", largest, " of ", options_.total_steps));
  }
  tries_ = 0;
  return requested_clock_ = largest + lead;
}

void CheckpointTracker::OnTakeover(Clock largest, Clock lead) {
  if (requested_clock_ == 0 || requested_clock_ > largest) return;
  requested_clock_ = 0;
  Request(largest, lead).IgnoreError();
}

void CheckpointTracker::RequestIfDue(absl::Time now, Clock largest, Clock lead) {
  if (options_.every == absl::ZeroDuration()) return;
  if (last_ == absl::InfinitePast()) last_ = now;
  if (now - last_ < options_.every) return;
  last_ = now;
  Request(largest, lead).IgnoreError();
}

std::optional<WholeCheckpoint> CheckpointTracker::TakeWhole() {
  while (!whole_.empty()) {
    const Clock clock = whole_.front();
    whole_.erase(whole_.begin());
    const auto found = under_way_.find(clock);
    if (found == under_way_.end()) continue;
    Remember(clock, &finished_);
    return WholeCheckpoint{clock, found->second};
  }
  return std::nullopt;
}

void CheckpointTracker::Rewind(Clock clock, Clock lead) {
  under_way_.clear();
  whole_.clear();
  failed_.clear();
  finished_.clear();
  const bool requested = requested_clock_ > 0;
  requested_clock_ = 0;
  if (requested) Request(clock, lead).IgnoreError();
}

void CheckpointTracker::SetUnderWay(Clock clock, std::vector<wire::CheckpointFile> files) {
  under_way_[clock] = std::move(files);
  MarkIfWhole(clock);
}

}  // namespace tessera

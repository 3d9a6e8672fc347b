#include "server/checkpoint_writer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/status.h"

namespace tessera {
namespace {

constexpr absl::Duration kWaitSlice = absl::Seconds(5);
constexpr size_t kMaxDropped = 16;  // that are remembered to be reported

}  // namespace

CheckpointWriter::CheckpointWriter(CheckpointWriterOptions options, Report report)
    : options_(std::move(options)), report_(std::move(report)) {
  TESSERA_CHECK(!options_.shards.empty() && options_.groups > 0);
  thread_ = std::thread([this] { Run(); });
}

CheckpointWriter::~CheckpointWriter() {
  {
    MutexLock lock(&mutex_);
    closing_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void CheckpointWriter::Add(ShardSnapshot snapshot) {
  const Clock clock = snapshot.version / options_.groups;
  const bool is_held =
      std::find(options_.shards.begin(), options_.shards.end(), snapshot.shard) != options_.shards.end();
  if (!is_held) return;
  {
    MutexLock lock(&mutex_);
    if (clock <= done_) return;
    cuts_[clock].emplace(snapshot.shard, std::move(snapshot));
    while (cuts_.size() + (writing_ ? 1 : 0) > kMaxUnfinished) DropOldestLocked();
  }
  changed_.NotifyAll();
}

// A shard's snapshots come in the order of their clocks: what comes late for this one is not waited for.
void CheckpointWriter::DropOldestLocked() {
  done_ = std::max(done_, cuts_.begin()->first);
  dropped_.push_back(cuts_.begin()->first);
  if (dropped_.size() > kMaxDropped) dropped_.pop_front();
  cuts_.erase(cuts_.begin());
}

bool CheckpointWriter::HasWholeCutLocked() const {
  return std::any_of(cuts_.begin(), cuts_.end(), [&](const auto& cut) { return IsWhole(cut.second); });
}

std::pair<Clock, CheckpointWriter::Cut> CheckpointWriter::TakeWholeCutLocked() {
  while (!IsWhole(cuts_.begin()->second)) DropOldestLocked();
  std::pair<Clock, Cut> taken(cuts_.begin()->first, std::move(cuts_.begin()->second));
  cuts_.erase(cuts_.begin());
  done_ = taken.first;
  return taken;
}

void CheckpointWriter::Run() {
  mutex_.Lock();
  while (!closing_) {
    if (!dropped_.empty()) {
      const Clock clock = dropped_.front();
      dropped_.pop_front();
      mutex_.Unlock();
      report_(clock, absl::AbortedError(absl::StrCat("the checkpoint at step ", clock,
                                                     " was dropped: newer ones overtook it")));
      mutex_.Lock();
    } else if (HasWholeCutLocked()) {
      writing_ = true;
      std::pair<Clock, Cut> cut = TakeWholeCutLocked();
      mutex_.Unlock();
      report_(cut.first, Write(cut.first, std::move(cut.second)));
      mutex_.Lock();
      writing_ = false;
    } else {
      changed_.WaitWithTimeout(&mutex_, kWaitSlice);
    }
  }
  mutex_.Unlock();
}

absl::StatusOr<CheckpointFileInfo> CheckpointWriter::Write(Clock clock, Cut cut) const {
  std::vector<ShardSnapshot> shards;
  for (auto& [id, snapshot] : cut) shards.push_back(std::move(snapshot));
  TESSERA_ASSIGN_OR_RETURN(const std::string folder, MakeCheckpointPath(options_.dir, clock));
  return WriteCheckpointPart(folder, CheckpointPartName(options_.server_index, options_.incarnation),
                             options_.layout, shards);
}

}  // namespace tessera

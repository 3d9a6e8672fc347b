#include "worker/data/batch_prefetcher.h"

#include <algorithm>
#include <utility>

namespace tessera {
namespace {

// The thread is woken by what it waits for; this only bounds each wait.
constexpr absl::Duration kLongestWait = absl::Minutes(1);

}  // namespace

BatchPrefetcher::BatchPrefetcher(Sampler sampler, const BatchLoader& loader, TraceRecorder* recorder)
    : sampler_(std::move(sampler)),
      trace_(recorder == nullptr ? TraceTrack() : recorder->AddTrack("minibatches")),
      slots_(kAhead + 1, Slot{.loader = loader}) {
  planned_.reserve(slots_.size());
  thread_ = std::thread([this] { Run(); });
}

BatchPrefetcher::~BatchPrefetcher() {
  {
    MutexLock lock(&mutex_);
    ending_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

nn::Batch BatchPrefetcher::Take(BatchKey wanted, absl::Span<const BatchKey> next) {
  next = next.first(std::min(next.size(), kAhead));
  MutexLock lock(&mutex_);
  planned_.assign(1, wanted);
  planned_.insert(planned_.end(), next.begin(), next.end());
  changed_.NotifyAll();
  while (true) {
    const Slot* slot = FindLocked(wanted);
    if (slot != nullptr && slot->ready) return slot->batch;
    changed_.WaitWithTimeout(&mutex_, kLongestWait);
  }
}

void BatchPrefetcher::Run() {
  while (true) {
    Slot* slot = nullptr;
    {
      MutexLock lock(&mutex_);
      while (!ending_ && (slot = BeginLocked()) == nullptr) changed_.WaitWithTimeout(&mutex_, kLongestWait);
      if (ending_) return;
    }
    Gather(slot);
    MutexLock lock(&mutex_);
    slot->ready = true;
    changed_.NotifyAll();
  }
}

BatchPrefetcher::Slot* BatchPrefetcher::FindLocked(BatchKey key) {
  const auto found =
      std::find_if(slots_.begin(), slots_.end(), [&](const Slot& slot) { return slot.key == key; });
  return found == slots_.end() ? nullptr : &*found;
}

BatchPrefetcher::Slot* BatchPrefetcher::BeginLocked() {
  const auto missing = std::find_if(
      planned_.begin(), planned_.end(),
      [this](BatchKey key) ABSL_NO_THREAD_SAFETY_ANALYSIS { return FindLocked(key) == nullptr; });
  if (missing == planned_.end()) return nullptr;
  // There are as many slots as may be planned, so one has what is not.
  const auto unwanted =
      std::find_if(slots_.begin(), slots_.end(), [this](const Slot& slot) ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return std::find(planned_.begin(), planned_.end(), slot.key) == planned_.end();
      });
  unwanted->key = *missing;
  unwanted->ready = false;
  return &*unwanted;
}

void BatchPrefetcher::Gather(Slot* slot) {
  const BatchKey key = slot->key;
  const TraceSpan span(trace_, TraceKind::kLoad,
                       {.replicas = {key.replica, key.replica}, .clock = key.clock});
  slot->batch = slot->loader.LoadForTraining(sampler_.Minibatch(key.replica, key.clock),
                                             key.clock / sampler_.steps_per_epoch());
}

}  // namespace tessera

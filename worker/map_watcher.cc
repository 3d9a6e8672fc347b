#include "worker/map_watcher.h"

#include <utility>

namespace tessera {
namespace {

// Waits are ended by the watcher's thread; this only bounds each.
constexpr absl::Duration kLongestWait = absl::Minutes(1);

}  // namespace

MapWatcher::MapWatcher(NodeAgent* agent) : agent_(agent) {
  thread_ = std::thread([this] { Run(); });
}

MapWatcher::~MapWatcher() {
  agent_->Interrupt(absl::CancelledError("this worker ends"));
  thread_.join();
}

void MapWatcher::Run() {
  int64_t term = 0;
  while (true) {
    absl::StatusOr<wire::ClusterMap> map = agent_->WaitForMap(term);
    const bool ended = !map.ok();
    if (!ended) term = map->term();
    {
      MutexLock lock(&mutex_);
      newest_ = std::move(map);
      changed_.NotifyAll();
    }
    Tell();
    if (ended) return;
  }
}

absl::StatusOr<wire::ClusterMap> MapWatcher::Wait(int64_t after_term) {
  MutexLock lock(&mutex_);
  while (newest_.ok() && newest_->term() <= after_term) changed_.WaitWithTimeout(&mutex_, kLongestWait);
  return newest_;
}

void MapWatcher::Listen(int64_t after_term, Listener listener) {
  {
    MutexLock lock(&telling_);
    listener_ = std::move(listener);
    told_term_ = after_term;
  }
  Tell();
}

void MapWatcher::Tell() {
  MutexLock telling(&telling_);
  absl::StatusOr<wire::ClusterMap> newest;
  {
    MutexLock lock(&mutex_);
    newest = newest_;
  }
  if (!listener_ || (newest.ok() && newest->term() <= told_term_)) return;
  if (newest.ok()) told_term_ = newest->term();
  listener_(newest);
}

}  // namespace tessera

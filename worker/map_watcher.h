// Fetches every map that this worker may adopt as soon as there is one, while the worker computes.
#pragma once

#include <functional>
#include <thread>

#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "common/rpc/node_agent.h"

namespace tessera {

// Thread-safe. Starts one thread; the destructor ends the agent (nothing else ends its wait for a map), if it
// has not ended, and joins the thread.
class MapWatcher {
 public:
  // A newer map, or the end of the agent, which is the last.
  using Listener = std::function<void(const absl::StatusOr<wire::ClusterMap>&)>;

  // `agent` outlives it.
  explicit MapWatcher(NodeAgent* agent);
  ~MapWatcher();

  // Waits for a map of a term above `after_term`. Errors: the end of the agent.
  absl::StatusOr<wire::ClusterMap> Wait(int64_t after_term);

  // From now on `listener` is told of every map of a term above `after_term`, one at a time, from the
  // watcher's thread; of one that is there already before this returns. Null: nobody is told, and no call is
  // under way after this returns.
  void Listen(int64_t after_term, Listener listener);

 private:
  void Run();
  // Tells the listener what is new to it.
  void Tell() ABSL_LOCKS_EXCLUDED(telling_, mutex_);

  NodeAgent* const agent_;
  Mutex telling_ ABSL_ACQUIRED_BEFORE(mutex_);  // held while the listener is called
  Mutex mutex_;
  CondVar changed_;
  absl::StatusOr<wire::ClusterMap> newest_ ABSL_GUARDED_BY(mutex_) = wire::ClusterMap();
  Listener listener_ ABSL_GUARDED_BY(telling_);
  int64_t told_term_ ABSL_GUARDED_BY(telling_) = 0;
  std::thread thread_;
};

}  // namespace tessera

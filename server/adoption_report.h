// Says that a map is adopted once that is true of everything this server is the primary of: each backup in
// the map has all that was released before, so that any of them may take over (docs/adr/0011-replication.md).
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "common/mutex.h"
#include "proto/coordinator_service.pb.h"
#include "server/parameter_store.h"

namespace tessera {

// Thread-safe.
class AdoptionReport {
 public:
  // Told each map once at most, in order; never one that another map follows before it is true. Called by any
  // thread, under this object's lock: it must not call back.
  using Report = std::function<void(const wire::ClusterMap&)>;

  explicit AdoptionReport(Report report) : report_(std::move(report)) {}

  // The server works with `map` from now on, with the shards of `store`; null: it has none. Reports it now if
  // it can.
  void Begin(const wire::ClusterMap& map, const std::shared_ptr<ParameterStore>& store);
  // The store may have opened (ParameterStore::open).
  void OnOpen();
  // Nothing is reported after this returns.
  void Stop();

 private:
  Mutex mutex_;  // taken before the shards'
  Report report_ ABSL_GUARDED_BY(mutex_);
  std::optional<wire::ClusterMap> map_ ABSL_GUARDED_BY(mutex_);  // not reported yet
  std::weak_ptr<ParameterStore> store_ ABSL_GUARDED_BY(mutex_);  // that it waits for
};

}  // namespace tessera

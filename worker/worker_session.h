// The training of one assignment: the same replicas on the same timeline, over as many maps as leave them
// here.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/fault/link_faults.h"
#include "common/rpc/node_agent.h"
#include "common/shared_memory/inbound_links.h"
#include "worker/map_watcher.h"
#include "worker/training.h"
#include "worker/worker_progress.h"

namespace tessera {

// The replicas that `map` has node `node_id` run, ascending; maybe none.
std::vector<ReplicaId> ReplicasOf(const wire::ClusterMap& map, int node_id);

// What a session works with; all of it outlives the session.
struct SessionParts {
  NodeAgent* agent = nullptr;
  MapWatcher* watcher = nullptr;
  Training* training = nullptr;
  WorkerProgress* progress = nullptr;
  std::shared_ptr<LinkFaults> faults;     // null: none
  std::shared_ptr<InboundLinks> inbound;  // of all sessions of this process
};

// Not thread-safe.
class WorkerSession {
 public:
  enum class End {
    kSuperseded,  // a newer map is there, of other replicas or of another rewind, and they are handed over
    kJobOver,
  };

  // Adopts `map`, in which this worker has a replica, begins at its handover, or where the servers say, and
  // trains to the job's end; connections stay until then, since the coordinator may still collect weights.
  // Maps that leave the replicas and the rewind as they are, are adopted on the way. One of the same rewind
  // that hands replicas over ends the session at that clock: until then it goes on under the new term,
  // without having adopted the map. All others end it at once. Nothing of it is left on return: no
  // connection, and no hold on a server's memory. Errors: those of training; the end of the agent.
  static absl::StatusOr<End> Run(const SessionParts& parts, const wire::ClusterMap& map);
};

}  // namespace tessera

// What a cluster map asks of one server.
#pragma once

#include <map>
#include <vector>

#include "common/types.h"
#include "proto/coordinator_service.pb.h"
#include "server/replicator.h"
#include "server/shard_replication.h"
#include "server/shard_state.h"

namespace tessera {

struct ServerDuties {
  static constexpr NodeId kNobody = -1;

  std::vector<ShardId> primaries;       // ascending, as all that follow
  std::vector<ShardId> held;            // as primary or backup
  std::vector<ShardId> copies;          // that it is to get
  std::map<ShardId, ShardDuty> duties;  // of all three
  std::vector<BackupPeer> peers;        // who holds, or is to get, what it is the primary of
  std::vector<NodeId> primary_of;       // by shard; kNobody: nobody's
};

// Those of server `node`; empty where `map` does not name it. What is named twice counts once; negative ids
// are left out.
ServerDuties DutiesFrom(const wire::ClusterMap& map, NodeId node);

}  // namespace tessera

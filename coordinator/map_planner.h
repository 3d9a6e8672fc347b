// The cluster's map and what it becomes when nodes come and go (docs/adr/0009-recovery.md): the first map,
// replicas spread anew, rewinds, and what training is parked for. A pure state machine: members and times in,
// maps out. Not thread-safe.
//
// Invariants: terms only grow; in every map each shard has one server and each replica one worker, all of
// them alive when it was made; servers change only together with the rewind.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/shard_layout.h"
#include "common/types.h"
#include "coordinator/cluster_plan.h"
#include "coordinator/membership.h"
#include "proto/journal.pb.h"

namespace tessera {

struct MapPlannerOptions {
  int32_t servers = 1;  // that hold shards, at most
  int32_t replicas = 1;
  absl::Duration lease = absl::Seconds(3);
  // The first map starts from a checkpoint too, where there is one.
  bool resume = false;
};

class MapPlanner {
 public:
  // `base`: what every map has, the model above all.
  MapPlanner(const MapPlannerOptions& options, ShardLayout layout, wire::ClusterMap base);

  // The newest map; its term is 0 as long as there is none.
  const wire::ClusterMap& map() const { return map_; }
  bool has_map() const { return map_.term() > 0; }
  int64_t rewind() const { return map_.rewind(); }

  struct Change {
    wire::ClusterMap before;
    bool first = false;    // there was no map before
    bool rewound = false;  // everybody begins anew, at `clock`
    Clock clock = 0;
  };
  // Makes the next map, if it is due and can be made. The first one comes when as many nodes are there as the
  // job wants. Later ones follow every change of the workers; without one alive training is parked. A lost
  // server is a rewind: once the restore is known (SetRestore), and either as many servers are there as the
  // job wants, or a lease has passed since the loss was noticed (or since the first one came after the last
  // was lost). `training`: workers are needed; when not, only servers count.
  std::optional<Change> Advance(const Membership& members, bool training, absl::Time now);

  // What training waits for ("waiting for a worker"), or "". Until when nobody knows: Advance sees to it.
  const std::string& waiting() const { return waiting_; }
  // It waits for nodes that are not even expected: nobody is in a hurry.
  bool parked() const { return parked_; }

  // Somebody is to find the newest checkpoint that is whole.
  bool restore_wanted() const { return restoring_ && !restore_.has_value(); }
  // What was found; without a folder: clock 0.
  void SetRestore(wire::Restore restore) {
    if (restore_wanted()) restore_ = std::move(restore);
  }

  // A node works with a map that is newer than ours: our journal is an old copy. The next map has a higher
  // epoch, and is made soon, with a higher rewind if the node's is. Returns whether it was. A node that is no
  // member tells no more than the epoch.
  bool OnForeignTerm(int64_t term, int64_t rewind, bool is_member);

  void ToJournal(wire::JournalState* journal) const;
  // Errors: kDataLoss, a map that cannot be of this job. Afterwards the epoch is a new one.
  absl::Status FromJournal(const wire::JournalState& journal);

 private:
  std::optional<Change> Start(const Membership& members);
  std::optional<Change> GoBack(const Membership& members, absl::Time now);
  std::optional<Change> MakeMap(const Membership& members, bool rewound);
  void Park(const std::string& waiting, bool parked);

  const MapPlannerOptions options_;
  const ShardLayout layout_;
  const wire::ClusterMap base_;
  wire::ClusterMap map_;
  TermSequence terms_;
  std::string waiting_;
  bool parked_ = false;
  bool restoring_ = false;
  std::optional<wire::Restore> restore_;
  absl::Time wait_from_ = absl::InfiniteFuture();  // for servers
  bool make_anew_ = false;                         // a map, whoever is there
  bool go_back_ = false;                           // likewise a rewind
  int64_t least_rewind_ = 0;                       // of the next one
};

}  // namespace tessera

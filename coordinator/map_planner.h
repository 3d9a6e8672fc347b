// The cluster's map and what it becomes when nodes come and go (docs/adr/0009-recovery.md,
// 0011-replication.md): the first map, replicas spread anew, takeovers, moves of shards, rewinds, and what
// training is parked for. A pure state machine: members and times in, maps out. Not thread-safe.
//
// Invariants: terms only grow; in every map each shard has one primary and each replica one worker, all of
// them alive when it was made; without a rewind a shard's primary is one that has every version of it that
// anybody may have read; while a map is not adopted by all, only a death or a worker makes another.
//
// Replicas change workers in one of two ways. Somebody who ran one has died, or replicas do not keep step:
// whoever gets it begins where the servers say. Else the map says a handover (ClusterMap.handover), beyond
// all that anybody can have begun under the map of before: agreed on once all servers have adopted the map,
// and before any worker hears of it. Until all have adopted it, which a worker does when it has run what it
// ran before up to there, no worker that comes or goes in order makes another; a map that is made meanwhile
// for a server's sake says the same handover.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/shard_layout.h"
#include "common/types.h"
#include "coordinator/cluster_plan.h"
#include "coordinator/membership.h"
#include "coordinator/shard_plan.h"
#include "proto/journal.pb.h"

namespace tessera {

struct MapPlannerOptions {
  int32_t servers = 1;  // that the first map waits for, and a rewind for a lease at most
  int32_t backups = 0;  // of each shard
  int32_t replicas = 1;
  absl::Duration lease = absl::Seconds(3);
  // The first map starts from a checkpoint too, where there is one.
  bool resume = false;
  // All replicas keep step: they are handed over at a clock agreed with who runs them, the job's end at most.
  bool keeps_step = false;
  Clock total_steps = 0;
};

class MapPlanner {
 public:
  // `base`: what every map has, the model above all.
  MapPlanner(const MapPlannerOptions& options, ShardLayout layout, wire::ClusterMap base);

  // The newest map; its term is 0 as long as there is none.
  const wire::ClusterMap& map() const { return map_; }
  bool has_map() const { return map_.term() > 0; }
  int64_t rewind() const { return map_.rewind(); }
  // Who holds what in it, and what is on its way. Servers are known by node ids.
  const ShardPlan& plan() const { return plan_; }

  struct Change {
    wire::ClusterMap before;
    bool first = false;    // there was no map before
    bool rewound = false;  // everybody begins anew, at `clock`
    Clock clock = 0;
  };
  // Makes the next map, if it is due and can be made. The first one comes when as many nodes are there as the
  // job wants. Later ones follow every change of the workers; without one alive training is parked. The
  // shards of a server that is gone are taken over by backups. Where a shard has none it is a rewind: once
  // the restore is known (SetRestore), and either as many servers are there as the job wants, or a lease has
  // passed since the loss was noticed (or since the first one came after the last was lost). With a takeover,
  // and once everybody has adopted the newest map, the next step is taken towards what ShardPlan wants:
  // shards move onto servers that came and off those that drain, backups are replaced. Copies that are under
  // way are waited for then, a lease at most: a new map begins them anew. `training`: workers are needed, and
  // steps taken; when not, only lost servers count.
  std::optional<Change> Advance(const Membership& members, bool training, absl::Time now);

  // Primary `node` says that `server` has its copy of `shard`; counted for the next step if it is so in the
  // newest map.
  void OnCopied(const Node& node, ShardId shard, int32_t server);
  // `node` has adopted a map, as it says. Returns whether the journal must have that.
  bool OnAdopted(const Node& node);
  // Whether a server gets something by the next step. Nothing: it is not known yet, for others are on their
  // way.
  std::optional<bool> IsOfUse(const Node& node, const Membership& members) const;
  // All servers have adopted a map that hands replicas over: says from which clock on. Returns whether it
  // did.
  bool AgreeOnHandover(const Membership& members);
  // That is still to come: no worker may hear of the map.
  bool handover_open() const { return handover_open_; }
  // `node` reports on a replica that it runs in the newest map, or ran before it is handed over.
  bool MayReport(const Node& node, ReplicaId replica, Clock clock) const;
  // `server` holds, as a backup, what `primary` is the primary of; and no shard is lost with it.
  bool CanDoWithout(int32_t server, const Node& primary, const Membership& members) const;
  // A node that drains: nothing is lost with it, or nobody could take what it has.
  bool MayLeave(const Node& node, const Membership& members) const;

  // What training waits for ("waiting for a worker"), or "". Until when nobody knows: Advance sees to it.
  const std::string& waiting() const { return waiting_; }
  // It waits for nodes that are not even expected: nobody is in a hurry.
  bool parked() const { return parked_; }
  // The next map is a rewind.
  bool GoesBack(const Membership& members) const;

  // Somebody is to find the newest checkpoint that is whole.
  bool restore_wanted() const { return restoring_ && !restore_.has_value(); }
  // What was found; without a folder: clock 0.
  void SetRestore(wire::Restore restore) {
    if (restore_wanted()) restore_ = std::move(restore);
  }

  // A node works with a map that is newer than ours: our journal is an old copy. The next map has a higher
  // epoch. If the node is a member, it is a rewind, made soon: who holds which shard nobody knows. Returns
  // whether it was news.
  bool OnForeignTerm(int64_t term, int64_t rewind, bool is_member);

  void ToJournal(wire::JournalState* journal) const;
  // Errors: kDataLoss, a map that cannot be of this job. Afterwards the epoch is a new one.
  absl::Status FromJournal(const wire::JournalState& journal);

 private:
  std::optional<Change> Start(const Membership& members);
  std::optional<Change> GoBack(const Membership& members, absl::Time now);
  // With what `plan` says of servers. `spread`: replicas are spread anew, over workers that must be there.
  std::optional<Change> MakeMap(const Membership& members, ShardPlan plan, bool spread, bool rewound);
  // The first map's, or a rewind's: on all servers that stay.
  ShardPlan NewPlan(const Membership& members) const;
  // Without the servers that are gone; nothing when they take a shard with them.
  std::optional<ShardPlan> WithoutTheDead(const Membership& members) const;
  // It is time for the next step, though nobody has died.
  bool MayStep(const Membership& members, absl::Time now);
  // What is wanted by now of `plan`, whose servers all live, with those that hold nothing.
  ShardPlan Wanted(ShardPlan plan, const Membership& members) const;
  // The same without them: `plan` if there is nothing to do.
  ShardPlan NextStep(ShardPlan plan, const Membership& members) const;
  // Replicas are being handed over by workers that live: nothing else moves them.
  bool IsHandingOver(const Membership& members) const;
  // The workers of the map that follows map_, and how they come to their replicas. False: there are none.
  bool PlaceReplicas(const Membership& members, bool rewound, wire::ClusterMap* next);
  void RestorePlan(const wire::JournalState& journal);
  void Park(const std::string& waiting, bool parked);

  const MapPlannerOptions options_;
  const ShardLayout layout_;
  const wire::ClusterMap base_;
  wire::ClusterMap map_;
  ShardPlan plan_;  // always what map_ says
  TermSequence terms_;
  std::set<std::pair<ShardId, int32_t>> copied_;  // copies in map_ that are complete
  absl::Time copying_since_ = absl::InfiniteFuture();
  std::string waiting_;
  bool parked_ = false;
  bool restoring_ = false;
  std::optional<wire::Restore> restore_;
  absl::Time wait_from_ = absl::InfiniteFuture();  // for servers
  bool go_back_ = false;
  bool handover_open_ = false;
  int64_t least_rewind_ = 0;  // of the next one
};

}  // namespace tessera

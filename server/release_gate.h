// Which versions of a primary's shard may be read: those that each of its backups has. So whatever a worker
// was told holds with any heir. A read is decided on the rounds that are released alone: a replica whose push
// was applied, but not released, waits, and keeps its gradient. A pure state machine; not thread-safe, the
// shard's lock guards it. docs/adr/0011-replication.md.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "absl/types/span.h"
#include "server/consistency_policy.h"
#include "server/shard_replication.h"
#include "server/shard_version.h"

namespace tessera {

class ReleaseGate {
 public:
  // A round that was applied, and what is to be saved of it.
  struct Applied {
    ShardVersion made;
    int32_t group = 0;
    Clock clock = 0;
    std::vector<ReplicaRange> covered;
    std::optional<ShardSnapshot> snapshot;
  };

  // A primary begins, or gets its first backups, at version `at`, which `policy` has counted: nothing later
  // was ever read. Without backups.
  ReleaseGate(ConsistencyPolicy policy, ShardVersion at);

  // Release needs exactly these from now on: all `backups`, and of `joining` those that have joined. What is
  // known of those that stay is kept; of all others nothing is known.
  void SetBackups(absl::Span<const NodeId> backups, absl::Span<const NodeId> joining);
  // Nothing is known of any, as if none had been there, until SetBackups names them again.
  void ForgetBackups() { has_.clear(); }
  // Backup `node` has all up to `version`. What is no backup's changes nothing.
  void OnHas(NodeId node, Version version);
  // `node`, one that is joining, has all up to `version`: nothing more is released without it from now on.
  // True: it has all that was released before, so that it may take over.
  bool Join(NodeId node, Version version);

  // The next round was applied.
  void Add(Applied applied);
  // Releases what every backup has. Appends what is to be saved of it to `snapshots`. True: there was any, or
  // the gate is open for the first time.
  bool Release(std::vector<ShardSnapshot>* snapshots);

  // Has each backup what was released before? Until then nothing may be read: not even what others have.
  bool open() const { return open_; }
  // Rounds that are not released.
  size_t waiting() const { return waiting_.size(); }
  // What is released; meaningless before the gate is open, but for an upper bound.
  const ConsistencyPolicy& policy() const { return policy_; }
  const ShardVersion& newest() const { return newest_; }

 private:
  static constexpr Version kUnknown = -1;
  // That every backup has.
  Version Everywhere() const;

  ConsistencyPolicy policy_;
  ShardVersion newest_;
  bool open_ = false;
  std::map<NodeId, Version> has_;  // by backup
  std::set<NodeId> joining_;       // who may join
  std::deque<Applied> waiting_;    // in order of version, without gaps, from newest_ on
};

}  // namespace tessera

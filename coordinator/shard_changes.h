// What became of shards between two maps, for people: takeovers, copies that were completed, primaries that
// moved. Pure, but for the tally; not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/shard_layout.h"
#include "coordinator/membership.h"
#include "proto/coordinator_service.pb.h"

namespace tessera {

// Shards whose primary was lost, by who had them and who has them.
struct ShardTakeover {
  int32_t from = 0;  // node ids
  int32_t to = 0;
  size_t shards = 0;
  int64_t bytes = 0;
};

// Of two maps of one rewind: in order of (from, to).
std::vector<ShardTakeover> TakeoversOf(const wire::ClusterMap& before, const wire::ClusterMap& after,
                                       const ShardLayout& layout, const Membership& members);

// Copies and moves from when the first begins until all are done.
class MoveTally {
 public:
  // The next map of the same rewind.
  void Add(const wire::ClusterMap& before, const wire::ClusterMap& after, const ShardLayout& layout,
           const Membership& members, absl::Time now);
  // "copied 3 shards, 1.5 MiB, and gave 2 shards, 1.0 MiB, another primary, in 0.8 s, while training went
  // on". Nothing, when there was none.
  std::optional<std::string> Take(absl::Time now);

 private:
  std::optional<absl::Time> since_;
  size_t copied_ = 0;  // copies that became backups
  size_t moved_ = 0;   // primaries that gave their shard to another one
  int64_t copied_bytes_ = 0;
  int64_t moved_bytes_ = 0;
};

// "12 shards, 1.5 MiB".
std::string ShardsText(size_t shards, int64_t bytes);

}  // namespace tessera

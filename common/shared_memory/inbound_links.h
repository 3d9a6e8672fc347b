// What this process may still be reading: the links over which tensors came by reference, each from the
// moment it is agreed on until it is closed and the last of its tensors is dropped. A peer asks over a later
// link about one that has been closed, and may use its memory anew once that is not here any more
// (SharedMemoryLink).
//
// One for all connections of a client or a server: who reconnects is asked about what came before.
#pragma once

#include <cstdint>
#include <set>
#include <utility>

#include "common/mutex.h"

namespace tessera {

// Thread-safe.
class InboundLinks {
 public:
  InboundLinks();

  // Random; tells it from every other, of this process too.
  uint64_t id() const { return id_; }

  // The link that process `pid` calls `link`. A peer chooses its names: the same may be added more than once.
  void Add(int64_t pid, uint64_t link);
  // Takes back one Add.
  void Remove(int64_t pid, uint64_t link);
  bool Contains(int64_t pid, uint64_t link) const;
  size_t size() const;

 private:
  const uint64_t id_;
  mutable Mutex mutex_;  // a leaf
  std::multiset<std::pair<int64_t, uint64_t>> links_ ABSL_GUARDED_BY(mutex_);
};

// Random, and not 0.
uint64_t NewLinkId();

}  // namespace tessera

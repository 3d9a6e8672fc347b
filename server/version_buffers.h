// Where the versions of one shard lie in memory. Workers want blocks: so in a store that keeps two versions
// of each shard (sync), shards that are neighbours in their block and held here share two frames, one for
// even versions and one for odd ones, and in a frame they lie as in the block. Once all of them are at
// version v, a reader finds v in one piece.
//
// Version v of a shard takes the place of its version v - 2 alone; its neighbours may be a version behind, or
// ahead. Where somebody still reads version v - 2 of it, v gets a buffer of its own: then it does not adjoin,
// and that is all. So frames hold at most two versions of what is held, as the store does anyway; both are
// there from the start, for good.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "common/shard_layout.h"
#include "common/tensor_buffer.h"
#include "common/types.h"

namespace tessera {

// Take is called by one thread at a time (the shard's lock); what it gives may be dropped by any, also after
// this is gone.
class VersionBuffers {
 public:
  // Each version of `length` floats in a buffer of its own.
  VersionBuffers(size_t length, std::shared_ptr<BufferPool> pool);

  // For versions of each of `held`, in that order: known shards of `layout`, each named once. Frames, and
  // what finds its place taken, come from `pool`.
  static std::vector<VersionBuffers> Adjoining(const ShardLayout& layout, absl::Span<const ShardId> held,
                                               const std::shared_ptr<BufferPool>& pool);
  // The bytes of their frames.
  static size_t FrameBytes(const ShardLayout& layout, absl::Span<const ShardId> held);

  // Room for `version` (>= 0) of the shard, contents undefined; free for another once the last reference has
  // gone.
  std::shared_ptr<TensorBuffer> Take(Version version) const;

 private:
  struct Place;  // of a shard in a frame

  size_t length_;
  std::shared_ptr<BufferPool> pool_;
  std::array<std::shared_ptr<Place>, 2> places_;  // by version modulo 2; null without frames
};

}  // namespace tessera

// From shards back to named tensors, as a model file and the weights digest want them.
#pragma once

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/safetensors.h"
#include "common/shard_layout.h"
#include "common/tensor_buffer.h"

namespace tessera {

// Every parameter and statistic of `layout`; `by_shard[id]` holds the values of shard `id`.
// Errors: kInvalidArgument, a shard that is missing (null) or of the wrong length; the message describes it.
absl::StatusOr<NamedTensors> AssembleTensors(const ShardLayout& layout,
                                             absl::Span<const SharedTensor> by_shard);

}  // namespace tessera

// One immutable version of a shard's weights.
#pragma once

#include "common/tensor_buffer.h"
#include "common/types.h"

namespace tessera {

struct ShardVersion {
  Version version = 0;
  SharedTensor weights;
};

}  // namespace tessera

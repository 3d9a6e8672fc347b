#include "common/exchange.h"

#include <algorithm>

namespace tessera {

int64_t CreditWindow(int64_t shard_bytes) {
  constexpr int64_t kLeastWindow = 3 * 512 * 1024;
  return std::max(kLeastWindow, 3 * shard_bytes);
}

}  // namespace tessera

// The seals of a segment, which its owner sets and its readers insist on: it never shrinks (a reader can not
// be hit by a missing page), never grows, has no other writer, no holes are punched into it, and so it stays.
#pragma once

#include <fcntl.h>

namespace tessera {

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010  // Linux 5.1
#endif
inline constexpr int kSegmentSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;

}  // namespace tessera

// How much memory a process may still take. An anonymous file takes what it is told to: where that is too
// much, the kernel does not refuse but ends processes, so whoever makes one asks here first.
#pragma once

#include <cstdint>
#include <string>

namespace tessera {

// The least of what the machine (MemAvailable) and the memory control groups of this process, version 1 or 2
// and all the way up, have left, in bytes; pages of files that the kernel would drop for it count as left, as
// they do in MemAvailable. 0: not known. `root` is where /proc and /sys are found, for tests.
uint64_t AvailableMemory(const std::string& root = "/");

}  // namespace tessera

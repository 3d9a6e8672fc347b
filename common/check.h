// TESSERA_CHECK: ends the process with file, line and condition when one of *our own* invariants is broken.
// Never for what a peer, a file or a user says: those get an absl::Status.
#pragma once

namespace tessera::internal {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);
}  // namespace tessera::internal

#define TESSERA_CHECK(condition) \
  ((condition) ? (void)0 : ::tessera::internal::CheckFailed(__FILE__, __LINE__, #condition))

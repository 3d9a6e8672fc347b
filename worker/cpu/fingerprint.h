// What of this machine may change the last bit of a result (DESIGN.md section 5).
#pragma once

#include <string>

namespace tessera::cpu {

// Device kind, instruction set, cache sizes (oneDNN blocks by them), oneDNN and C library versions: "cpu,
// oneDNN 2.6.3 avx512_core, ...". Threads are the job's and so the same everywhere.
std::string MachineFingerprint();

}  // namespace tessera::cpu

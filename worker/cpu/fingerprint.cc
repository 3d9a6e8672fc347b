#include "worker/cpu/fingerprint.h"

#include <gnu/libc-version.h>
#include <unistd.h>

#include <dnnl.hpp>

#include "absl/strings/str_cat.h"

namespace tessera::cpu {
namespace {

std::string InstructionSet() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41:
      return "sse4.1";
    case dnnl::cpu_isa::avx:
      return "avx";
    case dnnl::cpu_isa::avx2:
      return "avx2";
    case dnnl::cpu_isa::avx2_vnni:
      return "avx2_vnni";
    case dnnl::cpu_isa::avx512_mic:
      return "avx512_mic";
    case dnnl::cpu_isa::avx512_mic_4ops:
      return "avx512_mic_4ops";
    case dnnl::cpu_isa::avx512_core:
      return "avx512_core";
    case dnnl::cpu_isa::avx512_core_vnni:
      return "avx512_core_vnni";
    case dnnl::cpu_isa::avx512_core_bf16:
      return "avx512_core_bf16";
    case dnnl::cpu_isa::avx512_core_amx:
      return "avx512_core_amx";
    default:
      return "generic";
  }
}

// oneDNN cuts its sums into blocks that fit the caches.
std::string Caches() {
  return absl::StrCat("caches ", sysconf(_SC_LEVEL1_DCACHE_SIZE), "/", sysconf(_SC_LEVEL2_CACHE_SIZE));
}

}  // namespace

std::string MachineFingerprint() {
  const dnnl_version_t& version = *dnnl_version();
  return absl::StrCat("cpu, oneDNN ", version.major, ".", version.minor, ".", version.patch, " ",
                      InstructionSet(), ", ", Caches(), ", glibc ", gnu_get_libc_version());
}

}  // namespace tessera::cpu

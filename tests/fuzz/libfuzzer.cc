// libFuzzer's entry, for a program with one target.
#include <cstddef>
#include <cstdint>

#include "common/check.h"
#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  TESSERA_CHECK(tessera::FuzzTarget::All().size() == 1);
  tessera::FuzzTarget::All().begin()->second({data, size});
  return 0;
}

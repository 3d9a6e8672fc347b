// What takes bytes of strangers, one file each in targets/. A target ends in its registration, and no list is
// edited.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/types/span.h"

namespace tessera {

// Handles `bytes` as the program would. Whatever they are it returns; a broken promise of the code under test
// ends the program (TESSERA_CHECK). The same bytes do the same.
using FuzzFunction = void (*)(absl::Span<const uint8_t> bytes);

// `const FuzzTarget kTarget("frame", &Run);` at the end of targets/frame.cc.
class FuzzTarget {
 public:
  FuzzTarget(const std::string& name, FuzzFunction run);
  // Every target that is linked, by name.
  static const std::map<std::string, FuzzFunction>& All();
};

}  // namespace tessera

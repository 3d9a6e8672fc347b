#include "tests/fuzz/target.h"

namespace tessera {
namespace {

std::map<std::string, FuzzFunction>& Table() {
  static auto* const table = new std::map<std::string, FuzzFunction>();
  return *table;
}

}  // namespace

FuzzTarget::FuzzTarget(const std::string& name, FuzzFunction run) { Table().emplace(name, run); }

const std::map<std::string, FuzzFunction>& FuzzTarget::All() { return Table(); }

}  // namespace tessera

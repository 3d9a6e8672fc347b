// The bytes of a coordinator's journal. Whatever they are, a file that can be opened takes a new state, and
// gives it back.
#include "coordinator/journal.h"

#include <memory>
#include <optional>
#include <string>

#include "common/check.h"
#include "tests/fuzz/file.h"
#include "tests/fuzz/target.h"

namespace tessera {
namespace {

constexpr char kState[] = "a new state";

void CheckHasTheState(Journal& journal) {
  const absl::StatusOr<std::optional<std::string>> state = journal.Load();
  TESSERA_CHECK(state.ok() && state->has_value() && **state == kState);
}

void Run(absl::Span<const uint8_t> bytes) {
  const FuzzFile written("journal", bytes);
  {
    const absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(written.path());
    if (!journal.ok()) return;
    const absl::StatusOr<std::optional<std::string>> before = (*journal)->Load();
    TESSERA_CHECK(before.ok() || !before.status().message().empty());
    TESSERA_CHECK((*journal)->Save(kState).ok());
    CheckHasTheState(**journal);
  }
  const absl::StatusOr<std::unique_ptr<Journal>> again = Journal::Open(written.path());
  TESSERA_CHECK(again.ok());
  CheckHasTheState(**again);
}

const FuzzTarget kTarget("journal", &Run);

}  // namespace
}  // namespace tessera

// A job file. One that is taken is the same after it was written and read again.
#include "absl/status/statusor.h"
#include "common/check.h"
#include "config/job_loader.h"
#include "tests/fuzz/target.h"

namespace tessera {
namespace {

void Run(absl::Span<const uint8_t> bytes) {
  const absl::StatusOr<JobSpec> job = LoadJobText({bytes.begin(), bytes.end()}, "job", {});
  if (!job.ok()) {
    TESSERA_CHECK(!job.status().message().empty());
    return;
  }
  const std::string text = FormatJob(*job);
  const absl::StatusOr<JobSpec> again = LoadJobText(text, "again", {});
  TESSERA_CHECK(again.ok());
  TESSERA_CHECK(FormatJob(*again) == text);
}

const FuzzTarget kTarget("job", &Run);

}  // namespace
}  // namespace tessera

#include "cli/run_trace.h"

#include <fstream>

#include "absl/strings/str_cat.h"
#include "cli/text.h"

namespace tessera::cli {
namespace {

std::string Events(int64_t count) {
  return absl::StrCat(FormatCount(static_cast<double>(count)), count == 1 ? " event" : " events");
}

}  // namespace

absl::Status WriteRunTrace(absl::Span<const TracePart> parts, const std::string& path,
                           const Console& console) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  const MergedTrace merged = MergeTraces(parts, file);
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  console.Line(absl::StrCat("trace in ", path, ", ", Events(merged.events), "; open it in ui.perfetto.dev"));
  for (const std::string& process : merged.missing) {
    console.Line(absl::StrCat("the trace lacks ", process, ", which left none or not all of it"));
  }
  for (const auto& [process, count] : merged.dropped) {
    console.Line(absl::StrCat("the trace of ", process, " lacks its last ", Events(count),
                              ", for which there was no room"));
  }
  return absl::OkStatus();
}

}  // namespace tessera::cli

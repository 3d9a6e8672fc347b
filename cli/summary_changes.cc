#include "cli/summary_changes.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/summary.h"
#include "common/file.h"
#include "common/status.h"

namespace tessera::cli {
namespace {

using Json = nlohmann::ordered_json;

// As the coordinator writes them (coordinator/run_summary.cc), so that they sort as text.
std::string TimeText(absl::Time when) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", when, absl::UTCTimeZone());
}

Json EventOf(const Injection& injection) {
  Json event;
  event["who"] = injection.node;
  event["what"] = "injected";
  event["message"] = injection.fault;
  event["when"] = TimeText(injection.when);
  event["pid"] = injection.pid;
  event["node"] = injection.node;
  event["step"] = injection.step;
  return event;
}

std::string TimeOf(const Json& event) {
  const auto when = event.find("when");
  return when != event.end() && when->is_string() ? when->get<std::string>() : "";
}

void AddEvents(const std::vector<Injection>& injections, Json* summary) {
  Json::array_t events;
  if (const auto found = summary->find("events"); found != summary->end() && found->is_array()) {
    events = found->get<Json::array_t>();
  }
  for (const Injection& injection : injections) events.push_back(EventOf(injection));
  std::stable_sort(events.begin(), events.end(),
                   [](const Json& a, const Json& b) { return TimeOf(a) < TimeOf(b); });
  (*summary)["events"] = std::move(events);
}

}  // namespace

absl::StatusOr<std::string> ChangeSummary(absl::string_view text, const SummaryChanges& changes) {
  Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::DataLossError("not a run's summary");
  if (!changes.failure.empty()) {
    json["status"] = "failed";
    json["message"] = changes.failure;
  }
  if (!changes.injections.empty()) AddEvents(changes.injections, &json);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::Status ChangeSummaryFile(const std::string& path, const SummaryChanges& changes) {
  if (changes.injections.empty() && changes.failure.empty()) return absl::OkStatus();
  const absl::StatusOr<Summary> summary = ReadSummary(path);
  if (absl::IsNotFound(summary.status())) return absl::OkStatus();
  if (!summary.ok()) return summary.status();
  const absl::StatusOr<std::string> text = ChangeSummary(summary->text, changes);
  if (!text.ok()) return Annotate(text.status(), path);
  const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(text->data()), text->size());
  return WriteFileAtomically(path, {bytes});
}

}  // namespace tessera::cli

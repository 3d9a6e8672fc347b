#include "cli/summary.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/text.h"
#include "common/status.h"

namespace tessera::cli {
namespace {

using Json = nlohmann::json;

std::string StringOf(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<double> NumberOf(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

void ReadStaleness(const Json& json, Summary* summary) {
  const auto found = json.find("staleness");
  if (found == json.end() || !found->is_object()) return;
  summary->staleness_mean = NumberOf(*found, "mean");
  summary->staleness_max = NumberOf(*found, "max");
  summary->staleness_bound = NumberOf(*found, "bound");
  summary->clock_lead = NumberOf(*found, "clock_lead");
}

// "mean 2.13, max 9, bound 21".
std::string StalenessText(const Summary& summary) {
  return absl::StrFormat("mean %.2f, max %.0f, %s", *summary.staleness_mean, *summary.staleness_max,
                         summary.staleness_bound.has_value()
                             ? absl::StrFormat("bound %.0f", *summary.staleness_bound)
                             : "no bound");
}

std::string EpochsAndTime(const Summary& summary) {
  std::string text = absl::StrCat(summary.epochs, summary.epochs == 1 ? " epoch" : " epochs");
  if (summary.wall_seconds.has_value()) absl::StrAppend(&text, " in ", FormatSeconds(*summary.wall_seconds));
  return text;
}

}  // namespace

absl::StatusOr<Summary> ParseSummary(std::string text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::DataLossError("not a run's summary");
  Summary summary;
  summary.text = std::move(text);
  summary.job = StringOf(json, "job");
  summary.status = StringOf(json, "status");
  summary.message = StringOf(json, "message");
  summary.mode = StringOf(json, "mode");
  summary.weights_digest = StringOf(json, "weights_digest");
  summary.epochs = static_cast<int64_t>(NumberOf(json, "epochs").value_or(0));
  summary.steps = static_cast<int64_t>(NumberOf(json, "steps").value_or(0));
  summary.test_accuracy = NumberOf(json, "test_accuracy");
  summary.test_loss = NumberOf(json, "test_loss");
  summary.train_loss = NumberOf(json, "train_loss");
  summary.images_per_second = NumberOf(json, "images_per_second");
  summary.wall_seconds = NumberOf(json, "wall_seconds");
  ReadStaleness(json, &summary);
  summary.dropped = static_cast<int64_t>(NumberOf(json, "dropped").value_or(0));
  summary.resumed_from_step = NumberOf(json, "resumed_from_step");
  summary.recomputed_steps = static_cast<int64_t>(NumberOf(json, "recomputed_steps").value_or(0));
  if (summary.status.empty()) return absl::DataLossError("not a run's summary");
  return summary;
}

absl::StatusOr<Summary> ReadSummary(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("no summary at ", path));
  std::ostringstream text;
  text << file.rdbuf();
  absl::StatusOr<Summary> summary = ParseSummary(std::move(text).str());
  if (!summary.ok()) return Annotate(summary.status(), path);
  return summary;
}

absl::Status WriteText(const std::string& path, absl::string_view text) {
  // Not atomic: FILE may be a pipe or /dev/stdout.
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(text.data(), static_cast<std::streamsize>(text.size())).flush();
  return file ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("cannot write ", path));
}

absl::Status CheckWritable(const std::string& path) {
  // Not by opening it: FILE may be a pipe, which would wait for its reader.
  struct stat info = {};
  int error = 0;
  if (stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) {
      error = EISDIR;
    } else if (access(path.c_str(), W_OK) != 0) {
      error = errno;
    }
  } else if (errno != ENOENT) {
    error = errno;
  } else {
    const std::string parent = std::filesystem::path(path).parent_path().string();
    if (access(parent.empty() ? "." : parent.c_str(), W_OK | X_OK) != 0) error = errno;
  }
  if (error == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("cannot write ", path, ": ", strerror(error)));
}

std::string OutcomeLine(const Summary& summary, int64_t total_steps) {
  if (summary.status == "failed") return absl::StrCat("failed: ", summary.message);
  if (!summary.done()) {
    const std::string of =
        total_steps > 0 ? absl::StrCat(" of ", FormatCount(static_cast<double>(total_steps))) : "";
    return absl::StrCat(summary.status, " after ", FormatCount(static_cast<double>(summary.steps)), of,
                        " steps", summary.message.empty() ? "" : ": ", summary.message);
  }
  return absl::StrCat("finished: ", EpochsAndTime(summary));
}

std::vector<std::string> FigureLines(const Summary& summary) {
  std::vector<std::string> lines;
  const auto add = [&lines](const char* name, const std::string& value) {
    lines.push_back(absl::StrFormat("  %-16s%s", name, value));
  };
  if (summary.test_accuracy.has_value()) add("test accuracy", FormatAccuracy(*summary.test_accuracy));
  if (summary.test_loss.has_value()) add("test loss", FormatLoss(*summary.test_loss));
  if (summary.train_loss.has_value()) add("train loss", FormatLoss(*summary.train_loss));
  if (summary.images_per_second.has_value()) add("images/s", FormatCount(*summary.images_per_second));
  if (summary.wall_seconds.has_value()) add("wall seconds", absl::StrFormat("%.1f", *summary.wall_seconds));
  if (summary.mode != "sync" && summary.staleness_mean.has_value() && summary.staleness_max.has_value()) {
    add("staleness", StalenessText(summary));
    if (summary.clock_lead.has_value()) add("clock lead", FormatCount(*summary.clock_lead));
  }
  if (summary.dropped > 0) {
    add("dropped", absl::StrCat(FormatCount(static_cast<double>(summary.dropped)),
                                summary.dropped == 1 ? " minibatch" : " minibatches"));
  }
  if (summary.resumed_from_step.has_value()) {
    add("resumed from", absl::StrCat("step ", FormatCount(*summary.resumed_from_step)));
  }
  if (summary.recomputed_steps > 0) {
    add("recomputed", absl::StrCat(FormatCount(static_cast<double>(summary.recomputed_steps)),
                                   summary.recomputed_steps == 1 ? " step" : " steps"));
  }
  if (!summary.weights_digest.empty()) add("weights digest", summary.weights_digest);
  return lines;
}

}  // namespace tessera::cli

#include "config/consistency_rules.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status.h"

namespace tessera {
namespace {

constexpr char kSync[] = "sync";
constexpr char kAsync[] = "async";
constexpr char kSsp[] = "ssp";
constexpr char kGrouped[] = "grouped";
constexpr char kScale[] = "scale";
constexpr char kDelayCompensated[] = "delay_compensated";
constexpr int64_t kSspStaleness = 3;
constexpr double kStaleClipNorm = 1;

std::string PathOf(absl::string_view key) { return absl::StrCat("train.consistency.", key); }

bool Has(const YamlNode& file, const std::string& path) { return file.FindPath(path) != nullptr; }

// "`train.consistency.group` is 2, but WHY", at the key.
absl::Status Refuse(const YamlNode& file, absl::string_view key, absl::string_view value,
                    absl::string_view why) {
  const std::string path = PathOf(key);
  return ErrorAt(file.WhereOf(path), absl::StrCat("`", path, "` is ", value, ", but ", why));
}

std::string StalenessText(int64_t staleness) {
  return staleness == ConsistencySpec::kUnbounded ? "unbounded" : absl::StrCat(staleness);
}

std::vector<int32_t> DivisorsOf(int32_t number) {
  std::vector<int32_t> divisors;
  for (int32_t i = 1; i <= number; ++i) {
    if (number % i == 0) divisors.push_back(i);
  }
  return divisors;
}

int32_t GroupOfMode(const ConsistencySpec& consistency, int32_t replicas) {
  return consistency.mode == kSync ? replicas : 1;
}

absl::Status CheckGivenGroup(const YamlNode& file, const ConsistencySpec& consistency, int32_t replicas) {
  if (replicas % consistency.group == 0) return absl::OkStatus();
  return Refuse(file, "group", absl::StrCat(consistency.group),
                absl::StrCat("it must divide the ", replicas,
                             " replicas: ", absl::StrJoin(DivisorsOf(replicas), ", ")));
}

absl::Status ResolveGroup(const YamlNode& file, int32_t replicas, ConsistencySpec& consistency) {
  const bool given = Has(file, PathOf("group"));
  if (consistency.mode == kGrouped) {
    if (given) return CheckGivenGroup(file, consistency, replicas);
    return ErrorAt(
        file.WhereOf(PathOf("mode")),
        absl::StrCat("`", PathOf("group"), "` is missing: with `mode: grouped` it says how many of the ",
                     replicas, " replicas make one update: ", absl::StrJoin(DivisorsOf(replicas), ", ")));
  }
  const int32_t group = GroupOfMode(consistency, replicas);
  if (!given) consistency.group = group;
  if (consistency.group == group) return absl::OkStatus();
  const std::string how = consistency.mode == kSync
                              ? absl::StrCat("`sync` updates by all ", replicas, " replicas")
                              : absl::StrCat("in `", consistency.mode, "` every replica updates by itself");
  return Refuse(file, "group", absl::StrCat(consistency.group),
                absl::StrCat(how, ": leave it out, or take `mode: grouped`"));
}

int64_t StalenessOfMode(const std::string& mode) {
  if (mode == kSync) return 0;
  return mode == kSsp ? kSspStaleness : ConsistencySpec::kUnbounded;
}

absl::Status ResolveStaleness(const YamlNode& file, ConsistencySpec& consistency) {
  const int64_t of_mode = StalenessOfMode(consistency.mode);
  if (!Has(file, PathOf("staleness"))) consistency.staleness = of_mode;
  const auto refuse = [&](absl::string_view why) {
    return Refuse(file, "staleness", StalenessText(consistency.staleness), why);
  };
  const bool as_mode = consistency.staleness == of_mode;
  if (consistency.mode == kSync && !as_mode) {
    return refuse("in `sync` no replica runs ahead: leave it out, or take `mode: ssp`");
  }
  if (consistency.mode == kAsync && !as_mode) {
    return refuse("`async` has no bound: leave it out, or take `mode: ssp`");
  }
  if (consistency.mode == kSsp && consistency.staleness == ConsistencySpec::kUnbounded) {
    return refuse("`ssp` has a bound: give a number, or take `mode: async`");
  }
  return absl::OkStatus();
}

// A worker's replicas are dropped together, so that those of the largest one must be few enough.
absl::Status CheckDrops(const YamlNode& file, const JobSpec& job) {
  const int32_t drops = job.train.consistency.drop_stragglers;
  const int32_t replicas = job.train.replicas;
  const int32_t workers = job.cluster.workers;
  if (drops == 0) return absl::OkStatus();
  const auto refuse = [&](absl::string_view why) {
    return Refuse(file, "drop_stragglers", absl::StrCat(drops), why);
  };
  if (job.train.consistency.mode != kSync) return refuse("only `sync` drops stragglers: leave it out");
  if (drops >= replicas) {
    return refuse(absl::StrCat("the job has ", replicas, replicas == 1 ? " replica" : " replicas",
                               ", and a step needs one: it must be less"));
  }
  const int32_t together = (replicas + workers - 1) / workers;
  if (drops >= together) return absl::OkStatus();
  const std::string advice = together < replicas ? absl::StrCat("take at least ", together, ", or") : "take";
  return refuse(absl::StrCat("a worker's replicas are dropped together, and of ", workers,
                             workers == 1 ? " worker" : " workers", " one runs ", together, " of the ",
                             replicas, ": ", advice, " more workers"));
}

absl::Status CheckCorrection(const YamlNode& file, const ConsistencySpec& consistency) {
  const std::string& correction = consistency.staleness_correction;
  const auto refuse = [&](absl::string_view why) {
    return Refuse(file, "staleness_correction", absl::StrCat("`", correction, "`"), why);
  };
  if (correction != "none" && consistency.mode == kSync) {
    return refuse("in `sync` no gradient is stale: leave it out, or take another mode");
  }
  if (correction == kDelayCompensated && consistency.group > 1) {
    return refuse(absl::StrCat("it takes groups of 1, not of ", consistency.group,
                               ": take `scale`, or `mode: async` or `ssp`"));
  }
  if (correction == kScale && consistency.lr_scaling == "none") {
    return Refuse(file, "lr_scaling", "`none`",
                  "`staleness_correction: scale` takes the place of the scaling by group: leave it out");
  }
  return absl::OkStatus();
}

absl::Status CheckCompensation(const YamlNode& file, const ConsistencySpec& consistency) {
  if (consistency.staleness_correction == kDelayCompensated) return absl::OkStatus();
  for (const char* key : {"dc_lambda", "dc_adaptive"}) {
    const YamlNode* value = file.FindPath(PathOf(key));
    if (value == nullptr) continue;
    return Refuse(file, key, absl::StrCat("`", Clip(value->text), "`"),
                  "it is for `staleness_correction: delay_compensated`: leave it out, or take that");
  }
  return absl::OkStatus();
}

absl::Status ResolveDeterministic(const YamlNode& file, TrainSpec& train) {
  const bool possible = train.consistency.mode == kSync && train.consistency.drop_stragglers == 0;
  if (!Has(file, "train.deterministic")) train.deterministic = possible;
  if (possible || !train.deterministic) return absl::OkStatus();
  return ErrorAt(
      file.WhereOf("train.deterministic"),
      "`train.deterministic` is true, but only `mode: sync` without `drop_stragglers` can be: leave it "
      "out, or set it to false");
}

double ClipNormOfMode(const std::string& mode) { return mode == kSync ? 0 : kStaleClipNorm; }

bool IsClipNormOfMode(const std::string& mode, const YamlEntry& entry) {
  double norm = 0;
  return entry.key == "clip_norm" && absl::SimpleAtod(entry.value.text, &norm) && norm == ClipNormOfMode(mode);
}

// Whether a file whose mode becomes `mode` keeps what it says of a key of train.consistency.
bool Keeps(const std::string& mode, const YamlNode& consistency, const YamlEntry& entry) {
  const YamlNode* correction = consistency.Find("staleness_correction");
  const bool compensates = correction != nullptr && correction->text == kDelayCompensated;
  if (entry.key == "group" || entry.key == "staleness" || entry.key == "drop_stragglers") return false;
  if (entry.key == "dc_lambda" || entry.key == "dc_adaptive") return mode == kAsync || mode == kSsp;
  if (entry.key != "staleness_correction") return true;
  return mode != kSync && (mode != kGrouped || !compensates);
}

}  // namespace

absl::Status ResolveConsistency(const YamlNode& file, JobSpec& job) {
  ConsistencySpec& consistency = job.train.consistency;
  TESSERA_RETURN_IF_ERROR(ResolveGroup(file, job.train.replicas, consistency));
  TESSERA_RETURN_IF_ERROR(ResolveStaleness(file, consistency));
  TESSERA_RETURN_IF_ERROR(CheckDrops(file, job));
  TESSERA_RETURN_IF_ERROR(CheckCorrection(file, consistency));
  TESSERA_RETURN_IF_ERROR(CheckCompensation(file, consistency));
  if (!Has(file, "train.clip_norm")) job.train.clip_norm = ClipNormOfMode(consistency.mode);
  return ResolveDeterministic(file, job.train);
}

std::string ModeOf(const YamlNode& file) {
  const YamlNode* mode = file.FindPath("train.consistency.mode");
  if (mode == nullptr) return ConsistencySpec().mode;
  return mode->text == "mixed" ? kGrouped : mode->text;
}

void LeaveOwnMode(const std::string& mode, YamlNode& file) {
  const std::string own_mode = ModeOf(file);
  YamlNode* train = file.Find("train");
  YamlNode* consistency = train == nullptr ? nullptr : train->Find("consistency");
  const auto drop = [](std::vector<YamlEntry>& entries, const auto& drops) {
    entries.erase(std::remove_if(entries.begin(), entries.end(), drops), entries.end());
  };
  if (consistency != nullptr) {
    const YamlNode before = *consistency;
    drop(consistency->entries, [&](const YamlEntry& entry) { return !Keeps(mode, before, entry); });
  }
  if (train == nullptr) return;
  drop(train->entries, [&](const YamlEntry& entry) { return IsClipNormOfMode(own_mode, entry); });
  if (mode != kSync) {
    drop(train->entries,
         [](const YamlEntry& entry) { return entry.key == "deterministic" && entry.value.text == "true"; });
  }
}

}  // namespace tessera

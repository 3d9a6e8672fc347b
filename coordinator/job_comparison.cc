#include "coordinator/job_comparison.h"

#include <map>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "config/yaml_parser.h"
#include "config/yaml_writer.h"

namespace tessera {
namespace {

// "train.epochs" -> "5".
using Leaves = std::map<std::string, std::string>;

bool MayDiffer(const std::string& path) {
  if (path == "cluster.shard_bytes") return false;
  return path == "job.name" || path == "device.threads" || absl::StartsWith(path, "cluster.") ||
         absl::StartsWith(path, "checkpoint.");
}

void AddLeaves(const YamlNode& node, const std::string& path, Leaves* leaves) {
  if (!node.is_map() || node.entries.empty()) {
    if (!MayDiffer(path)) (*leaves)[path] = WriteYamlInline(node);
    return;
  }
  for (const YamlEntry& entry : node.entries) {
    AddLeaves(entry.value, path.empty() ? entry.key : absl::StrCat(path, ".", entry.key), leaves);
  }
}

absl::StatusOr<Leaves> LeavesOf(const std::string& job) {
  TESSERA_ASSIGN_OR_RETURN(const YamlNode file, ParseYaml(job, "job"));
  Leaves leaves;
  AddLeaves(file, "", &leaves);
  return leaves;
}

std::string Quoted(const Leaves& leaves, const std::string& path) {
  const auto found = leaves.find(path);
  return found == leaves.end() ? "nothing" : absl::StrCat("`", found->second, "`");
}

}  // namespace

absl::Status CheckSameMaths(const std::string& before, const std::string& now) {
  const absl::StatusOr<Leaves> old_leaves = LeavesOf(before);
  if (!old_leaves.ok()) return absl::DataLossError(old_leaves.status().message());
  TESSERA_ASSIGN_OR_RETURN(const Leaves new_leaves, LeavesOf(now));
  Leaves all = *old_leaves;
  all.insert(new_leaves.begin(), new_leaves.end());
  for (const auto& [path, text] : all) {
    const std::string was = Quoted(*old_leaves, path);
    const std::string is = Quoted(new_leaves, path);
    if (was == is) continue;
    return absl::FailedPreconditionError(absl::StrCat("cannot resume: ", path, " was ", was, " and is now ",
                                                      is, "; a run goes on only with the same mathematics"));
  }
  return absl::OkStatus();
}

}  // namespace tessera

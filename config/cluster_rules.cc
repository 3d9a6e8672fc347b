#include "config/cluster_rules.h"

#include "absl/strings/str_cat.h"

namespace tessera {
namespace {

constexpr char kBackups[] = "cluster.server_backups";

absl::Status RefuseBackups(const YamlNode& file, const JobSpec& job, absl::string_view why) {
  return ErrorAt(file.WhereOf(kBackups),
                 absl::StrCat("`", kBackups, "` is ", job.cluster.server_backups, ", but ", why));
}

}  // namespace

absl::Status CheckCluster(const YamlNode& file, const JobSpec& job) {
  const ClusterSpec& cluster = job.cluster;
  if (cluster.server_backups == 0) return absl::OkStatus();
  if (cluster.server_backups >= cluster.servers) {
    return RefuseBackups(
        file, job,
        absl::StrCat("a shard and its backups are on different servers, and `cluster.servers` is ",
                     cluster.servers, ": it must be less, or take at least ", cluster.server_backups + 1,
                     " servers"));
  }
  if (job.train.consistency.dc_adaptive) {
    return RefuseBackups(
        file, job,
        "`train.consistency.dc_adaptive` keeps a mean square that backups do not have: leave "
        "one of them out");
  }
  return absl::OkStatus();
}

}  // namespace tessera

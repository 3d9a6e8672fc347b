#include "coordinator/checkpoint_store.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/checkpoint/checkpoint_manifest.h"
#include "common/status.h"
#include "config/job_loader.h"
#include "coordinator/job_comparison.h"

namespace tessera {
namespace {

wire::CheckpointFile ToWire(const CheckpointFileInfo& file) {
  wire::CheckpointFile out;
  out.set_name(file.name);
  out.set_bytes(file.bytes);
  out.set_sha256(file.sha256);
  out.mutable_shards()->Assign(file.shards.begin(), file.shards.end());
  return out;
}

CheckpointFileInfo FromWire(const wire::CheckpointFile& file) {
  return {file.name(), file.bytes(), file.sha256(), {file.shards().begin(), file.shards().end()}};
}

absl::StatusOr<FoundCheckpoint> FindNewest(const std::string& folder) {
  FoundCheckpoint found;
  const auto newest =
      FindNewestValid(folder, [&](absl::string_view line) { found.passed_over.emplace_back(line); });
  if (absl::IsNotFound(newest.status())) return found;
  TESSERA_RETURN_IF_ERROR(newest.status());
  found.restore.set_folder(newest->path);
  found.restore.set_clock(newest->manifest.clock);
  for (const CheckpointFileInfo& file : newest->manifest.files) *found.restore.add_files() = ToWire(file);
  return found;
}

absl::StatusOr<std::string> Finish(CheckpointManifest manifest, const std::string& folder, int32_t keep,
                                   const WholeCheckpoint& checkpoint) {
  manifest.clock = checkpoint.clock;
  for (const wire::CheckpointFile& file : checkpoint.files) manifest.files.push_back(FromWire(file));
  const std::string path = CheckpointPath(folder, checkpoint.clock);
  TESSERA_RETURN_IF_ERROR(WriteManifest(path, manifest));
  const absl::Status pruned = PruneCheckpoints(folder, keep);
  if (!pruned.ok()) spdlog::warn("old checkpoints: {}", std::string(pruned.message()));
  return path;
}

}  // namespace

CheckpointStore DiskCheckpoints(const JobPlan& plan, const std::string& folder, TimeSource now) {
  CheckpointManifest base;
  base.job = plan.job.name;
  base.steps_per_epoch = plan.steps_per_epoch;
  base.epochs = plan.job.train.epochs;
  base.mode = plan.job.train.consistency.mode;
  base.job_yaml = FormatJob(plan.job);
  base.layout = plan.layout;
  base.shard_bytes = plan.job.cluster.shard_bytes;
  const auto finish = [base, folder, keep = plan.job.checkpoint.keep, now](const WholeCheckpoint& checkpoint,
                                                                           int64_t rewind) {
    CheckpointManifest manifest = base;
    manifest.rewind = rewind;
    manifest.created = now();
    return Finish(std::move(manifest), folder, keep, checkpoint);
  };
  return {.find_newest = [folder] { return FindNewest(folder); }, .finish = finish};
}

absl::Status CheckCheckpointFolder(const JobPlan& plan, const std::string& folder, bool resume) {
  const auto entries = ListCheckpoints(folder);
  if (absl::IsNotFound(entries.status())) return absl::OkStatus();
  TESSERA_RETURN_IF_ERROR(entries.status());
  for (const CheckpointEntry& entry : *entries) {
    if (!entry.manifest.ok()) continue;
    if (!resume) {
      return absl::FailedPreconditionError(absl::StrCat(
          "checkpoint.dir ", folder, " has checkpoints of another run; resume it, or name another folder"));
    }
    return Annotate(CheckSameMaths(entry.manifest->job_yaml, FormatJob(plan.job)), entry.path);
  }
  return absl::OkStatus();
}

}  // namespace tessera

// A job's folder of checkpoints: `<dir>/step-<12 digits>/`, each with a manifest and the servers' parts, and
// the file `probe`, by which servers find out that they see the coordinator's folder.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/checkpoint/checkpoint_manifest.h"
#include "common/types.h"

namespace tessera {

// "<dir>/step-000000000120".
std::string CheckpointPath(const std::string& dir, Clock clock);

// Makes CheckpointPath(dir, clock), and `dir` where it lacks; both may be there. Safe to be called by several
// processes at once. Returns the path. Errors: kUnavailable or kResourceExhausted, with the path.
absl::StatusOr<std::string> MakeCheckpointPath(const std::string& dir, Clock clock);

struct CheckpointEntry {
  std::string path;
  Clock clock = 0;                              // by the folder's name
  absl::StatusOr<CheckpointManifest> manifest;  // kNotFound: not finished, or never will be
};

// What `dir` has, newest first, that is, by falling clock; manifests are read, parts are not looked at. What
// is named otherwise is passed over. Errors: kNotFound, no such folder; kUnavailable, it cannot be read.
absl::StatusOr<std::vector<CheckpointEntry>> ListCheckpoints(const std::string& dir);

// Reads the checkpoint in the folder `path` whole: every file of the manifest is there with its size and
// SHA-256, and the files have every shard of the layout exactly once. Returns the manifest.
// Errors: those of ReadManifest and VerifyCheckpointFile; kDataLoss, a shard that is missing or there twice.
// The message names the file and what is wrong.
absl::StatusOr<CheckpointManifest> VerifyCheckpoint(const std::string& path);

struct ValidCheckpoint {
  std::string path;
  CheckpointManifest manifest;
};

// The newest checkpoint of `dir` that VerifyCheckpoint approves. `passed_over` (may be null) is told in one
// line of each newer one that is damaged; those without a manifest, which were never finished, are not told
// of. Errors: those of ListCheckpoints; kNotFound, there is none.
absl::StatusOr<ValidCheckpoint> FindNewestValid(const std::string& dir,
                                                const std::function<void(absl::string_view)>& passed_over);

// Keeps the `keep` (>= 1) newest checkpoints that have a manifest, and the newest valid one in any case;
// removes the older ones, and leftovers without a manifest that are older than the newest valid one (a newer
// one may be under way). Without a valid one nothing is removed. Reads one checkpoint whole, more when that
// is damaged. Errors: those of ListCheckpoints; kUnavailable, something could not be removed (the rest is).
absl::Status PruneCheckpoints(const std::string& dir, int32_t keep);

// For a run that starts afresh where another has left its checkpoints: moves all of `dir` (leftovers too) to
// `dir`/earlier.1, or the first number that is free, so that none is taken for the new run's. Returns where,
// or
// "" when there is none or no `dir`. Errors: those of ListCheckpoints but kNotFound; kUnavailable, not
// movable.
absl::StatusOr<std::string> SetAsideCheckpoints(const std::string& dir);

// The coordinator's end of the probe: makes `dir` and its file `probe` with 32 random hexadecimal digits, and
// returns these. Errors: kUnavailable or kResourceExhausted, with the path.
absl::StatusOr<std::string> WriteProbe(const std::string& dir);

// A server's end: whether `dir` has the probe that the coordinator wrote. Errors: kFailedPrecondition, it has
// none or another; says that checkpoint.dir must be visible to all servers.
absl::Status CheckProbe(const std::string& dir, const std::string& probe);

}  // namespace tessera

// What a checkpoint is and which files it has: `manifest.json` in its folder, written last. A folder without
// one is no checkpoint.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/checkpoint/checkpoint_part.h"
#include "common/shard_layout.h"
#include "common/types.h"

namespace tessera {

struct CheckpointManifest {
  static constexpr int64_t kFormatVersion = 1;

  std::string job;              // its name
  Clock clock = 0;              // that it was taken at: steps done
  int64_t steps_per_epoch = 0;  // > 0
  int64_t epochs = 0;           // that the job is to have
  int64_t rewind = 0;           // the timeline that it was taken on
  std::string mode;             // of consistency
  std::string job_yaml;         // the whole job, canonical
  ShardLayout layout;           // with shard_bytes all that shards and their tensors can be made of again
  int64_t shard_bytes = 0;
  std::vector<CheckpointFileInfo> files;
  absl::Time created;  // whole seconds are kept
};

inline constexpr char kManifestName[] = "manifest.json";

// JSON. Errors: kInvalidArgument, a text that is not UTF-8.
absl::StatusOr<std::string> FormatManifest(const CheckpointManifest& manifest);

// Strict: every key is there once and no other; numbers are whole, in range and not negative; files' names
// are plain, their shards ascending and of the layout. Errors: kUnimplemented, another format version (both
// are named); kDataLoss, all else; says which key.
absl::StatusOr<CheckpointManifest> ParseManifest(const std::string& text);

// Writes `folder`/manifest.json atomically: its being there is what makes the checkpoint.
// Errors: those of FormatManifest; kResourceExhausted, the disk is full; kUnavailable, the system cannot
// write.
absl::Status WriteManifest(const std::string& folder, const CheckpointManifest& manifest);

// Errors: kNotFound, there is none; those of ParseManifest; kDataLoss, it is absurdly long; kUnavailable, the
// system cannot read it. The message names the file.
absl::StatusOr<CheckpointManifest> ReadManifest(const std::string& folder);

}  // namespace tessera

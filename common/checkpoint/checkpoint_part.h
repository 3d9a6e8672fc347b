// One server's shards as one safetensors file: its part of a checkpoint. Weights are `<shard>/weights`, the
// optimizer's state `<shard>/slots/<name>`, where <shard> is ShardLayout::Describe's ("conv1 [0,520)"); the
// rest (versions, clocks, counters) is JSON in the metadata entry `tessera_checkpoint`. What is read is what
// was written, to the last bit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/checkpoint/shard_snapshot.h"
#include "common/shard_layout.h"

namespace tessera {

// A file of a checkpoint, as its writer tells the coordinator and the manifest says it.
struct CheckpointFileInfo {
  std::string name;             // in the checkpoint's folder
  int64_t bytes = 0;            // of the whole file, as the digest
  std::string sha256;           // 32 raw bytes
  std::vector<ShardId> shards;  // ascending
  friend bool operator==(const CheckpointFileInfo&, const CheckpointFileInfo&) = default;
};

// "server-<index>-<incarnation>.safetensors".
std::string CheckpointPartName(int32_t server_index, const std::string& incarnation);

// A name that stays in its folder: letters, digits, `.`, `_`, `-`, not first a `.`, at most 200 of them.
bool IsCheckpointFileName(const std::string& name);

// Writes `shards`, in any order, as the file `name` of `folder`, which is there: a temporary beside it,
// fsync, rename, fsync of the folder. The tensors are written from where they are, none is copied. Errors:
// kInvalidArgument, no IsCheckpointFileName, or snapshots that do not fit `layout` (a shard twice, another
// length); kResourceExhausted, the disk is full; kUnavailable, the system cannot write. All name the file,
// and none leaves anything of it behind.
absl::StatusOr<CheckpointFileInfo> WriteCheckpointPart(const std::string& folder, const std::string& name,
                                                       const ShardLayout& layout,
                                                       absl::Span<const ShardSnapshot> shards);

// Compares `folder`'s file with its size and digest, and reads nothing out of it.
// Errors: kNotFound, it is missing; kDataLoss, another size or other bytes; kInvalidArgument, no regular file
// or no IsCheckpointFileName; kUnavailable, the system cannot read it. The message names the file.
absl::Status VerifyCheckpointFile(const std::string& folder, const CheckpointFileInfo& file);

// All shards of `file`, in ascending order. Nothing is believed before it is checked, and nothing is
// allocated that the file's own size does not cover. Errors: those of VerifyCheckpointFile; kDataLoss, a file
// that is no part of a checkpoint, or does not hold the shards that `file` says, or not as `layout` has them.
// The message names the file and the shard.
absl::StatusOr<std::vector<ShardSnapshot>> ReadCheckpointPart(const std::string& folder,
                                                              const CheckpointFileInfo& file,
                                                              const ShardLayout& layout);

// The shards `wanted`, each once, in this order, out of whichever of `files` have them; the other files and
// tensors are not read. Errors: those of ReadCheckpointPart; kDataLoss, no file has a wanted shard, or two
// have it.
absl::StatusOr<std::vector<ShardSnapshot>> ReadCheckpointShards(const std::string& folder,
                                                                absl::Span<const CheckpointFileInfo> files,
                                                                const ShardLayout& layout,
                                                                absl::Span<const ShardId> wanted);

}  // namespace tessera

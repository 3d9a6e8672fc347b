// A small model, snapshots of its shards, and a checkpoint of two files made of them.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/checkpoint/checkpoint_manifest.h"
#include "common/checkpoint/checkpoint_part.h"
#include "common/checkpoint/shard_snapshot.h"
#include "common/shard_layout.h"
#include "gtest/gtest.h"

namespace tessera {

inline constexpr int64_t kSmallShardBytes = 64;

// Three shards: "fc [0,16)", "fc [16,20)" and "bn statistics [0,4)".
inline ShardLayout SmallLayout() {
  std::vector<ParameterBlock> blocks(2);
  blocks[0].layer = "fc";
  blocks[0].parameters = {{.name = "fc.weight", .shape = {4, 4}, .init = {Initializer::Kind::kUniform, 0.1F}},
                          {.name = "fc.bias", .shape = {4}}};
  blocks[1].layer = "bn";
  blocks[1].kind = ParameterKind::kStatistic;
  blocks[1].parameters = {{.name = "bn.running_var",
                           .shape = {4},
                           .kind = ParameterKind::kStatistic,
                           .init = {Initializer::Kind::kConstant, 1}}};
  return *ShardLayout::Create(std::move(blocks), kSmallShardBytes);
}

inline SharedTensor Ramp(int64_t length, float first) {
  auto values = std::make_shared<TensorBuffer>(static_cast<size_t>(length));
  for (int64_t i = 0; i < length; ++i) values->data()[i] = first + static_cast<float>(i);
  return values;
}

// Of `shard` at `clock`, with one group of two replicas; its first element is `first`.
inline ShardSnapshot SnapshotOf(const ShardLayout& layout, ShardId shard, Clock clock, float first) {
  const int64_t length = layout.shards()[shard].length;
  return {.shard = shard,
          .version = clock,
          .applied_pushes = 2 * clock,
          .policy = {{clock}, {clock, clock}, {clock - 1, clock}, 1},
          .weights = Ramp(length, first),
          .slots = {{"velocity", Ramp(length, -first)}, {"mean_square", Ramp(length, first / 3)}}};
}

inline std::vector<ShardSnapshot> SnapshotsOf(const ShardLayout& layout, const std::vector<ShardId>& shards,
                                              Clock clock) {
  std::vector<ShardSnapshot> snapshots;
  for (const ShardId shard : shards) {
    snapshots.push_back(SnapshotOf(layout, shard, clock, 100.0F * static_cast<float>(shard + 1)));
  }
  return snapshots;
}

inline bool SameTensor(const SharedTensor& a, const SharedTensor& b) {
  return a != nullptr && b != nullptr && a->span() == b->span();
}

inline bool SameSnapshot(const ShardSnapshot& a, const ShardSnapshot& b) {
  const auto same_slot = [](const ShardSnapshot::Slot& x, const ShardSnapshot::Slot& y) {
    return x.name == y.name && SameTensor(x.values, y.values);
  };
  return a.shard == b.shard && a.version == b.version && a.applied_pushes == b.applied_pushes &&
         a.policy == b.policy && SameTensor(a.weights, b.weights) &&
         std::equal(a.slots.begin(), a.slots.end(), b.slots.begin(), b.slots.end(), same_slot);
}

inline CheckpointManifest ManifestOf(Clock clock, std::vector<CheckpointFileInfo> files) {
  return {.job = "small",
          .clock = clock,
          .steps_per_epoch = 10,
          .epochs = 3,
          .rewind = 1,
          .mode = "sync",
          .job_yaml = "job: { name: small }\n",
          .layout = SmallLayout(),
          .shard_bytes = kSmallShardBytes,
          .files = std::move(files),
          .created = absl::FromUnixSeconds(1'700'000'000)};
}

// Shards 0 and 2 in server 0's file, shard 1 in server 1's. Returns the checkpoint's folder.
inline std::string MakeCheckpoint(const std::string& dir, Clock clock) {
  const ShardLayout layout = SmallLayout();
  const std::string path = *MakeCheckpointPath(dir, clock);
  std::vector<CheckpointFileInfo> files;
  files.push_back(
      *WriteCheckpointPart(path, CheckpointPartName(0, "a"), layout, SnapshotsOf(layout, {2, 0}, clock)));
  files.push_back(
      *WriteCheckpointPart(path, CheckpointPartName(1, "b"), layout, SnapshotsOf(layout, {1}, clock)));
  EXPECT_TRUE(WriteManifest(path, ManifestOf(clock, std::move(files))).ok());
  return path;
}

}  // namespace tessera

// A server's part of a checkpoint whose manifest believes in it: digest and size are right, whatever the
// bytes are.
#include "common/checkpoint/checkpoint_part.h"

#include <string>
#include <vector>

#include "common/check.h"
#include "common/sha256.h"
#include "tests/fuzz/file.h"
#include "tests/fuzz/target.h"

namespace tessera {
namespace {

// Shards "fc [0,4)", "fc [4,6)" and "bn statistics [0,2)".
ShardLayout SmallLayout() {
  const ParameterSpec weight{.name = "fc.weight", .shape = {2, 3}};
  const ParameterSpec mean{.name = "bn.running_mean", .shape = {2}, .kind = ParameterKind::kStatistic};
  return ShardLayout::Create(
             {{"fc", ParameterKind::kWeight, {weight}}, {"bn", ParameterKind::kStatistic, {mean}}}, 16)
      .value();
}

void CheckShard(const ShardLayout& layout, const ShardSnapshot& snapshot) {
  const auto length = static_cast<size_t>(layout.shards().at(static_cast<size_t>(snapshot.shard)).length);
  TESSERA_CHECK(snapshot.weights != nullptr && snapshot.weights->size() == length);
  for (const ShardSnapshot::Slot& slot : snapshot.slots) {
    TESSERA_CHECK(slot.values != nullptr && slot.values->size() == length);
  }
}

void Run(absl::Span<const uint8_t> bytes) {
  const ShardLayout layout = SmallLayout();
  const FuzzFile written("part.safetensors", bytes);
  Sha256 digest;
  digest.Add(bytes);
  CheckpointFileInfo info{written.name(), static_cast<int64_t>(bytes.size()), digest.Digest(), {0, 1, 2}};
  TESSERA_CHECK(VerifyCheckpointFile(written.folder(), info).ok());
  const absl::StatusOr<std::vector<ShardSnapshot>> all = ReadCheckpointPart(written.folder(), info, layout);
  if (all.ok()) {
    TESSERA_CHECK(all->size() == 3);
    for (const ShardSnapshot& snapshot : *all) CheckShard(layout, snapshot);
    TESSERA_CHECK(WriteCheckpointPart(written.folder(), "again", layout, *all).ok());
  }
  info.shards = {1};
  const auto one = ReadCheckpointPart(written.folder(), info, layout);
  TESSERA_CHECK(!one.ok() || (one->size() == 1 && one->front().shard == 1));
}

const FuzzTarget kTarget("checkpoint_part", &Run);

}  // namespace
}  // namespace tessera

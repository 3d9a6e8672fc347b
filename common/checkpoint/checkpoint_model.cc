#include "common/checkpoint/checkpoint_model.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/assemble.h"
#include "common/status.h"

namespace tessera {

absl::StatusOr<NamedTensors> ReadCheckpointModel(const std::string& folder,
                                                 const CheckpointManifest& manifest) {
  std::vector<SharedTensor> by_shard(manifest.layout.shards().size());
  for (const CheckpointFileInfo& file : manifest.files) {
    TESSERA_ASSIGN_OR_RETURN(std::vector<ShardSnapshot> shards,
                             ReadCheckpointPart(folder, file, manifest.layout));
    for (ShardSnapshot& snapshot : shards) by_shard[snapshot.shard] = std::move(snapshot.weights);
  }
  for (const Shard& shard : manifest.layout.shards()) {
    if (by_shard[shard.id] != nullptr) continue;
    return absl::DataLossError(
        absl::StrCat(folder, "/", kManifestName, ": no file has ", manifest.layout.Describe(shard.id)));
  }
  return AssembleTensors(manifest.layout, by_shard);
}

}  // namespace tessera

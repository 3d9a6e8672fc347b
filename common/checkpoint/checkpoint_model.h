// The model that a checkpoint holds, by PyTorch's names, as a run's model file has it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint_manifest.h"
#include "common/safetensors.h"

namespace tessera {

// Weights and batch-norm statistics of the checkpoint in `folder`, whose manifest is `manifest`. Every byte
// of its files is checked on the way; the optimizer's state is dropped file by file. Errors: those of
// ReadCheckpointPart; kDataLoss, a shard that no file has. The message names the file.
absl::StatusOr<NamedTensors> ReadCheckpointModel(const std::string& folder,
                                                 const CheckpointManifest& manifest);

}  // namespace tessera

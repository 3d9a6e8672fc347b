// The values that a model's shards start with when a safetensors file gives them: each parameter and
// batch-norm statistic by its name; layers that are to start afresh get their initial distribution all the
// same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/safetensors_file.h"
#include "common/shard_layout.h"

namespace tessera {

struct StartingWeightsOptions {
  std::string path;
  // Layers that start afresh: `fc` is the layer of this name and all below it (`fc.0`).
  std::vector<std::string> replace;
  uint64_t seed = 0;  // of those that start afresh: as FillInitial
};

// Immutable; holds the file open. Safe from several threads.
class StartingWeights {
 public:
  // Reads the file's header and matches it with the parameters of `layout`.
  // Errors: those of SafetensorsFile::Open; kInvalidArgument, an entry of `replace` that names no layer (with
  // the nearest), or parameters that are not in the file, or there in another shape or not as floating-point
  // numbers, and that `replace` does not name: all of them, and which layers to name. The message begins with
  // the job's key.
  static absl::StatusOr<StartingWeights> Create(const StartingWeightsOptions& options, ShardLayout layout);

  // Writes the values of `shard`, which `out` is as long as; of the file only these are read.
  // Errors: those of SafetensorsFile::Read.
  absl::Status Fill(ShardId shard, absl::Span<float> out) const;

  // What was taken and what starts afresh, for people: "resnet18.safetensors: 100 of 102 tensors; starts
  // afresh: fc.weight [10,512] (file: [1000,512]), fc.bias [10] (file: [1000])".
  const std::string& summary() const { return summary_; }
  // What of the file is not used: "resnet18.safetensors: 2 tensors fit no parameter: ema.decay, step"; empty
  // when all is. PyTorch's counters `num_batches_tracked` are not mentioned.
  const std::string& warning() const { return warning_; }

 private:
  StartingWeights(StartingWeightsOptions options, ShardLayout layout, SafetensorsFile file);
  absl::Status Match();
  absl::Status CheckReplace() const;
  bool StartsAfresh(const std::string& layer) const;
  std::string Misfit(const ParameterSpec& parameter) const;
  std::string DescribeFresh(const ParameterSpec& parameter) const;
  std::vector<std::string> Unused() const;

  StartingWeightsOptions options_;
  ShardLayout layout_;
  SafetensorsFile file_;
  std::string summary_;
  std::string warning_;
};

// The first 8 bytes of the SHA-256 of a shard's values: by it a server sees that its file is the
// coordinator's.
uint64_t ShardDigest(absl::Span<const float> values);

}  // namespace tessera

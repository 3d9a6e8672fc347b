// The manifest of a checkpoint. One that is taken is the same after it was written and read again.
#include "common/checkpoint/checkpoint_manifest.h"

#include <string>

#include "common/check.h"
#include "tests/fuzz/target.h"

namespace tessera {
namespace {

void Run(absl::Span<const uint8_t> bytes) {
  const absl::StatusOr<CheckpointManifest> manifest = ParseManifest({bytes.begin(), bytes.end()});
  if (!manifest.ok()) return;
  for (const CheckpointFileInfo& file : manifest->files) {
    TESSERA_CHECK(IsCheckpointFileName(file.name));
    for (const ShardId shard : file.shards) {
      TESSERA_CHECK(static_cast<size_t>(shard) < manifest->layout.shards().size());
    }
  }
  const absl::StatusOr<std::string> text = FormatManifest(*manifest);
  TESSERA_CHECK(text.ok());
  const absl::StatusOr<CheckpointManifest> again = ParseManifest(*text);
  TESSERA_CHECK(again.ok());
  TESSERA_CHECK(FormatManifest(*again) == text);
}

const FuzzTarget kTarget("checkpoint_manifest", &Run);

}  // namespace
}  // namespace tessera

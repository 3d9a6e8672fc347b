// A file of weights, read whole and a piece at a time.
#include "common/safetensors.h"

#include <algorithm>
#include <vector>

#include "common/check.h"
#include "common/safetensors_file.h"
#include "tests/fuzz/file.h"
#include "tests/fuzz/target.h"

namespace tessera {
namespace {

// The first elements of each tensor, and one behind the last.
void ReadInPieces(const SafetensorsFile& file, size_t file_bytes) {
  for (const auto& [name, tensor] : file.tensors()) {
    TESSERA_CHECK(0 <= tensor.begin && tensor.begin <= tensor.end);
    TESSERA_CHECK(tensor.end <= static_cast<int64_t>(file_bytes));
    if (!SafetensorsFile::IsFloat(tensor.dtype)) continue;
    const int64_t elements = NumElements(tensor.shape);
    std::vector<float> values(static_cast<size_t>(std::min<int64_t>(elements, 3)));
    TESSERA_CHECK(file.Read(name, 0, absl::MakeSpan(values)).ok());
    TESSERA_CHECK(
        file.Read(name, elements - static_cast<int64_t>(values.size()), absl::MakeSpan(values)).ok());
    values.resize(1);
    TESSERA_CHECK(!file.Read(name, elements, absl::MakeSpan(values)).ok());
  }
}

void Run(absl::Span<const uint8_t> bytes) {
  const FuzzFile written("weights.safetensors", bytes);
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(written.path());
  if (file.ok()) ReadInPieces(*file, bytes.size());
  const absl::StatusOr<NamedTensors> tensors = ReadSafetensors(written.path());
  TESSERA_CHECK(!tensors.ok() || file.ok());
  if (!tensors.ok()) return;
  for (const auto& [name, tensor] : *tensors) {
    TESSERA_CHECK(static_cast<int64_t>(tensor.values.size()) == NumElements(tensor.shape));
  }
  TESSERA_CHECK(WeightsDigest(*tensors).size() == 64);
}

const FuzzTarget kTarget("safetensors", &Run);

}  // namespace
}  // namespace tessera

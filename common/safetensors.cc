#include "common/safetensors.h"

#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/safetensors_file.h"
#include "common/sha256.h"
#include "common/status.h"
#include "nlohmann/json.hpp"

namespace tessera {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little, "tensor bytes are little-endian float32");

constexpr char kMetadataKey[] = "__metadata__";
constexpr uint64_t kLengthBytes = sizeof(uint64_t);
constexpr uint64_t kHeaderAlignment = 8;  // the data starts at a multiple of it, after padding by spaces
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as readers have it

absl::Span<const uint8_t> AsBytes(const void* data, size_t bytes) {
  return {static_cast<const uint8_t*>(data), bytes};
}

absl::Span<const uint8_t> AsBytes(absl::Span<const float> values) {
  return AsBytes(values.data(), values.size() * sizeof(float));
}

absl::StatusOr<Json> HeaderOf(const TensorViews& tensors,
                              const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    if (name == kMetadataKey)
      return absl::InvalidArgumentError(absl::StrCat("no tensor may be named ", name));
    if (static_cast<int64_t>(tensor.values.size()) != NumElements(tensor.shape)) {
      return absl::InvalidArgumentError(absl::StrCat("tensor `", name, "` has ", tensor.values.size(),
                                                     " values for shape ", ToString(tensor.shape)));
    }
    const uint64_t end = offset + tensor.values.size() * sizeof(float);
    header[name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  return header;
}

absl::StatusOr<std::string> FormatHeader(const Json& header) {
  try {
    std::string text = header.dump();
    text.append((kHeaderAlignment - text.size() % kHeaderAlignment) % kHeaderAlignment, ' ');
    return text;
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("a name or a metadata entry is not UTF-8: ", error.what()));
  }
}

}  // namespace

absl::StatusOr<std::string> SafetensorsPreamble(const TensorViews& tensors,
                                                const std::map<std::string, std::string>& metadata) {
  TESSERA_ASSIGN_OR_RETURN(const Json header, HeaderOf(tensors, metadata));
  TESSERA_ASSIGN_OR_RETURN(const std::string text, FormatHeader(header));
  if (text.size() > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a header of ", text.size(), " bytes, readers take ", kMaxHeaderBytes));
  }
  std::string preamble(kLengthBytes, '\0');
  const uint64_t length = text.size();
  std::memcpy(preamble.data(), &length, kLengthBytes);
  return preamble + text;
}

absl::Status WriteSafetensors(const std::string& path, const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata) {
  TensorViews views;
  for (const auto& [name, tensor] : tensors) views.emplace(name, TensorView{tensor.shape, tensor.values});
  const absl::StatusOr<std::string> preamble = SafetensorsPreamble(views, metadata);
  if (!preamble.ok()) return Annotate(preamble.status(), path);
  std::vector<absl::Span<const uint8_t>> pieces = {AsBytes(preamble->data(), preamble->size())};
  for (const auto& [name, tensor] : tensors) pieces.push_back(AsBytes(tensor.values));
  return WriteFileAtomically(path, pieces);
}

absl::StatusOr<NamedTensors> ReadSafetensors(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(path));
  NamedTensors tensors;
  for (const auto& [name, tensor] : file.tensors()) {
    if (tensor.dtype != "F32") {
      return absl::UnimplementedError(
          absl::StrCat(path, ": tensor `", name, "`: dtype ", tensor.dtype, " is not read, only F32"));
    }
    std::vector<float> values(static_cast<size_t>(tensor.end - tensor.begin) / sizeof(float));
    TESSERA_RETURN_IF_ERROR(file.Read(name, 0, absl::MakeSpan(values)));
    tensors.emplace(name, NamedTensor{tensor.shape, std::move(values)});
  }
  return tensors;
}

std::string WeightsDigest(const NamedTensors& tensors) {
  Sha256 digest;
  for (const auto& [name, tensor] : tensors) {
    digest.Add(AsBytes(name.c_str(), name.size() + 1));  // with its NUL
    digest.Add(absl::MakeConstSpan(tensor.values));
  }
  return digest.HexDigest();
}

}  // namespace tessera

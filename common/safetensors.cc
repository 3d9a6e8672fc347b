#include "common/safetensors.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <bit>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/check.h"
#include "common/file.h"
#include "common/status.h"
#include "nlohmann/json.hpp"

namespace tessera {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little, "tensor bytes are little-endian float32");

constexpr char kMetadataKey[] = "__metadata__";
constexpr uint64_t kLengthBytes = sizeof(uint64_t);
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as in the format's own implementation
constexpr uint64_t kHeaderAlignment = 8;  // the data starts at a multiple of it, after padding by spaces

absl::Span<const uint8_t> AsBytes(const void* data, size_t bytes) {
  return {static_cast<const uint8_t*>(data), bytes};
}

absl::Span<const uint8_t> AsBytes(const std::vector<float>& values) {
  return AsBytes(values.data(), values.size() * sizeof(float));
}

absl::StatusOr<Json> HeaderOf(const NamedTensors& tensors,
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

// Where a tensor stands in the data part, as the header says.
struct Entry {
  std::string name;
  Shape shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

absl::StatusOr<std::vector<uint64_t>> ParseNumbers(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) {
    return absl::DataLossError(absl::StrCat("`", key, "` is not a list"));
  }
  std::vector<uint64_t> numbers;
  for (const Json& number : *found) {
    if (!number.is_number_unsigned()) {
      return absl::DataLossError(absl::StrCat("`", key, "` holds something else than whole numbers"));
    }
    numbers.push_back(number.get<uint64_t>());
  }
  return numbers;
}

// `dimensions` as a shape of exactly `bytes` bytes of float32.
absl::StatusOr<Shape> CheckedShape(const std::vector<uint64_t>& dimensions, uint64_t bytes) {
  uint64_t expected = sizeof(float);
  bool fits = true;
  for (const uint64_t dimension : dimensions) {
    fits = fits && dimension <= INT64_MAX && !__builtin_mul_overflow(expected, dimension, &expected);
  }
  const Shape shape(dimensions.begin(), dimensions.end());
  if (!fits || expected != bytes) {
    return absl::DataLossError(absl::StrCat("shape ", absl::StrJoin(dimensions, "x"), " does not take the ",
                                            bytes, " bytes that its offsets give"));
  }
  return shape;
}

absl::StatusOr<Entry> ParseEntry(const std::string& name, const Json& object) {
  const auto dtype = object.find("dtype");
  if (!object.is_object() || dtype == object.end() || !dtype->is_string()) {
    return absl::DataLossError("its header entry has no dtype");
  }
  if (*dtype != "F32") {
    return absl::UnimplementedError(
        absl::StrCat("dtype ", dtype->get<std::string>(), " is not read, only F32"));
  }
  TESSERA_ASSIGN_OR_RETURN(const std::vector<uint64_t> offsets, ParseNumbers(object, "data_offsets"));
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    return absl::DataLossError("`data_offsets` is not a begin and an end");
  }
  TESSERA_ASSIGN_OR_RETURN(const std::vector<uint64_t> dimensions, ParseNumbers(object, "shape"));
  TESSERA_ASSIGN_OR_RETURN(Shape shape, CheckedShape(dimensions, offsets[1] - offsets[0]));
  return Entry{name, std::move(shape), offsets[0], offsets[1]};
}

// nlohmann::json keeps the last of several equal keys in silence; here they are an error.
absl::StatusOr<Json> ParseJsonObject(const std::string& text) {
  std::set<std::string> names;
  std::string duplicate;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::key && depth == 1 && !names.insert(parsed.get<std::string>()).second) {
      duplicate = parsed.get<std::string>();
    }
    return true;
  };
  Json header = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (!header.is_object()) return absl::DataLossError("the header is not a JSON object");
  if (!duplicate.empty()) return absl::DataLossError(absl::StrCat("tensor `", duplicate, "` occurs twice"));
  return header;
}

// The entries in order of their offsets, which must cover the `data_bytes` of the file without a gap or an
// overlap.
absl::StatusOr<std::vector<Entry>> ParseHeader(const std::string& text, uint64_t data_bytes) {
  TESSERA_ASSIGN_OR_RETURN(const Json header, ParseJsonObject(text));
  std::vector<Entry> entries;
  for (const auto& [name, object] : header.items()) {
    if (name == kMetadataKey) continue;
    absl::StatusOr<Entry> entry = ParseEntry(name, object);
    if (!entry.ok()) return Annotate(entry.status(), absl::StrCat("tensor `", name, "`"));
    entries.push_back(*std::move(entry));
  }
  const auto by_offset = [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  };
  std::sort(entries.begin(), entries.end(), by_offset);
  uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != covered) {
      return absl::DataLossError(absl::StrCat("tensor `", entry.name, "` starts at byte ", entry.begin,
                                              " of the data, the one before ends at ", covered));
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    return absl::DataLossError(absl::StrCat("the tensors take ", covered, " bytes, the file has ", data_bytes,
                                            covered > data_bytes ? " (truncated)" : ""));
  }
  return entries;
}

absl::StatusOr<std::string> ReadHeader(const InputFile& file) {
  if (file.size() < static_cast<int64_t>(kLengthBytes)) {
    return absl::DataLossError(
        absl::StrCat("truncated: ", file.size(), " bytes, less than the header's length"));
  }
  uint64_t length = 0;
  TESSERA_RETURN_IF_ERROR(file.ReadAt(0, {reinterpret_cast<uint8_t*>(&length), kLengthBytes}));
  const uint64_t available = static_cast<uint64_t>(file.size()) - kLengthBytes;
  if (length > kMaxHeaderBytes || length > available) {
    return absl::DataLossError(absl::StrCat("a header of ", length, " bytes in a file of ", file.size(),
                                            ": truncated, or not a safetensors file"));
  }
  std::string text(length, '\0');
  TESSERA_RETURN_IF_ERROR(file.ReadAt(kLengthBytes, {reinterpret_cast<uint8_t*>(text.data()), text.size()}));
  return text;
}

absl::StatusOr<NamedTensors> ReadTensors(const InputFile& file) {
  TESSERA_ASSIGN_OR_RETURN(const std::string header, ReadHeader(file));
  const uint64_t data_start = kLengthBytes + header.size();
  TESSERA_ASSIGN_OR_RETURN(std::vector<Entry> entries,
                           ParseHeader(header, static_cast<uint64_t>(file.size()) - data_start));
  NamedTensors tensors;
  for (Entry& entry : entries) {
    std::vector<float> values((entry.end - entry.begin) / sizeof(float));
    TESSERA_RETURN_IF_ERROR(
        file.ReadAt(static_cast<int64_t>(data_start + entry.begin),
                    {reinterpret_cast<uint8_t*>(values.data()), entry.end - entry.begin}));
    tensors.emplace(std::move(entry.name), NamedTensor{std::move(entry.shape), std::move(values)});
  }
  return tensors;
}

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    TESSERA_CHECK(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  }

  void Add(absl::Span<const uint8_t> bytes) {
    TESSERA_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  }

  std::string HexDigest() {
    std::string digest(32, '\0');
    TESSERA_CHECK(
        EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr) == 1);
    return absl::BytesToHexString(digest);
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

absl::Status WriteSafetensors(const std::string& path, const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata) {
  absl::StatusOr<Json> header = HeaderOf(tensors, metadata);
  if (!header.ok()) return Annotate(header.status(), path);
  const absl::StatusOr<std::string> text = FormatHeader(*header);
  if (!text.ok()) return Annotate(text.status(), path);
  const uint64_t length = text->size();
  std::vector<absl::Span<const uint8_t>> pieces = {AsBytes(&length, kLengthBytes),
                                                   AsBytes(text->data(), text->size())};
  for (const auto& [name, tensor] : tensors) pieces.push_back(AsBytes(tensor.values));
  return WriteFileAtomically(path, pieces);
}

absl::StatusOr<NamedTensors> ReadSafetensors(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  absl::StatusOr<NamedTensors> tensors = ReadTensors(file);
  if (!tensors.ok()) return Annotate(tensors.status(), path);
  return tensors;
}

std::string WeightsDigest(const NamedTensors& tensors) {
  Sha256 digest;
  for (const auto& [name, tensor] : tensors) {
    digest.Add(AsBytes(name.c_str(), name.size() + 1));  // with its NUL
    digest.Add(AsBytes(tensor.values));
  }
  return digest.HexDigest();
}

}  // namespace tessera

#include "common/safetensors_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <utility>
#include <vector>

#include "absl/base/casts.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status.h"
#include "nlohmann/json.hpp"

namespace tessera {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little, "tensor bytes are little-endian");

constexpr char kMetadataKey[] = "__metadata__";
constexpr uint64_t kLengthBytes = sizeof(uint64_t);
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as in the format's own implementation
constexpr size_t kPieceBytes = 1 << 16;            // of values that are converted

// Bytes of an element; 0: not known.
uint64_t ElementBytes(const std::string& dtype) {
  static const std::map<std::string, uint64_t>* const kBytes = new std::map<std::string, uint64_t>{
      {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"I64", 8}, {"I32", 4},
      {"I16", 2}, {"I8", 1},  {"U64", 8}, {"U32", 4},  {"U16", 2},     {"U8", 1},      {"BOOL", 1}};
  const auto found = kBytes->find(dtype);
  return found == kBytes->end() ? 0 : found->second;
}

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

// `dimensions` as a shape of exactly `bytes` bytes of elements of `element_bytes`.
absl::StatusOr<Shape> CheckedShape(const std::vector<uint64_t>& dimensions, uint64_t element_bytes,
                                   uint64_t bytes) {
  uint64_t expected = element_bytes;
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

// A header's entry; offsets from `data_start`, in a file of `file_bytes`.
absl::StatusOr<SafetensorsFile::Tensor> ParseTensor(const Json& object, uint64_t data_start,
                                                    uint64_t file_bytes) {
  const auto dtype = object.find("dtype");
  if (!object.is_object() || dtype == object.end() || !dtype->is_string()) {
    return absl::DataLossError("its header entry has no dtype");
  }
  SafetensorsFile::Tensor tensor;
  tensor.dtype = dtype->get<std::string>();
  const uint64_t element_bytes = ElementBytes(tensor.dtype);
  if (element_bytes == 0)
    return absl::UnimplementedError(absl::StrCat("dtype ", tensor.dtype, " is not known"));
  TESSERA_ASSIGN_OR_RETURN(const std::vector<uint64_t> offsets, ParseNumbers(object, "data_offsets"));
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    return absl::DataLossError("`data_offsets` is not a begin and an end");
  }
  TESSERA_ASSIGN_OR_RETURN(const std::vector<uint64_t> dimensions, ParseNumbers(object, "shape"));
  TESSERA_ASSIGN_OR_RETURN(tensor.shape, CheckedShape(dimensions, element_bytes, offsets[1] - offsets[0]));
  if (offsets[1] > file_bytes - data_start) {
    return absl::DataLossError(absl::StrCat("it ends at byte ", offsets[1], " of the data, the file has ",
                                            file_bytes - data_start, " (truncated)"));
  }
  tensor.begin = static_cast<int64_t>(data_start + offsets[0]);
  tensor.end = static_cast<int64_t>(data_start + offsets[1]);
  return tensor;
}

// nlohmann::json keeps the last of several equal keys in silence; here equal names of tensors are an error.
// So is what is nested deeper than a tensor's shape, before it takes memory.
absl::StatusOr<Json> ParseJsonObject(const std::string& text) {
  constexpr int kDepthOfShape = 2;
  std::set<std::string> names;
  std::string duplicate;
  bool too_deep = false;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    const bool starts =
        event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
    if (starts && depth > kDepthOfShape) {
      too_deep = true;
      return false;
    }
    if (event == Json::parse_event_t::key && depth == 1 && !names.insert(parsed.get<std::string>()).second) {
      duplicate = parsed.get<std::string>();
    }
    return true;
  };
  Json header = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (!header.is_object()) return absl::DataLossError("the header is not a JSON object");
  if (too_deep) return absl::DataLossError("the header is nested deeper than a tensor's shape");
  if (!duplicate.empty()) return absl::DataLossError(absl::StrCat("tensor `", duplicate, "` occurs twice"));
  return header;
}

// The tensors must cover the bytes from `data_start` to `file_bytes` without a gap or an overlap.
absl::Status CheckTiling(const std::map<std::string, SafetensorsFile::Tensor>& tensors, int64_t data_start,
                         int64_t file_bytes) {
  using Entry = std::map<std::string, SafetensorsFile::Tensor>::const_pointer;
  std::vector<Entry> entries;
  for (const auto& entry : tensors) entries.push_back(&entry);
  std::sort(entries.begin(), entries.end(), [](Entry a, Entry b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  int64_t covered = data_start;
  for (const Entry entry : entries) {
    if (entry->second.begin != covered) {
      return absl::DataLossError(absl::StrCat("tensor `", entry->first, "` starts at byte ",
                                              entry->second.begin - data_start,
                                              " of the data, the one before ends at ", covered - data_start));
    }
    covered = entry->second.end;
  }
  if (covered == file_bytes) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the tensors take ", covered - data_start, " bytes, the file has ",
                                          file_bytes - data_start));
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

std::map<std::string, std::string> TextsOf(const Json& header) {
  std::map<std::string, std::string> texts;
  const auto metadata = header.find(kMetadataKey);
  if (metadata == header.end() || !metadata->is_object()) return texts;
  for (const auto& [key, value] : metadata->items()) {
    if (value.is_string()) texts.emplace(key, value.get<std::string>());
  }
  return texts;
}

struct Contents {
  std::map<std::string, SafetensorsFile::Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

absl::StatusOr<Contents> ReadContents(const InputFile& file) {
  TESSERA_ASSIGN_OR_RETURN(const std::string text, ReadHeader(file));
  TESSERA_ASSIGN_OR_RETURN(const Json header, ParseJsonObject(text));
  const uint64_t data_start = kLengthBytes + text.size();
  Contents contents{.metadata = TextsOf(header)};
  for (const auto& [name, object] : header.items()) {
    if (name == kMetadataKey) continue;
    auto tensor = ParseTensor(object, data_start, static_cast<uint64_t>(file.size()));
    if (!tensor.ok()) return Annotate(tensor.status(), absl::StrCat("tensor `", name, "`"));
    contents.tensors.emplace(name, *std::move(tensor));
  }
  TESSERA_RETURN_IF_ERROR(CheckTiling(contents.tensors, static_cast<int64_t>(data_start), file.size()));
  return contents;
}

// Whether `count` elements from `first` on can be read as float32.
absl::Status CheckRange(const SafetensorsFile::Tensor& tensor, int64_t first, size_t count) {
  if (!SafetensorsFile::IsFloat(tensor.dtype)) {
    return absl::UnimplementedError(absl::StrCat("dtype ", tensor.dtype, " is not read as weights"));
  }
  const int64_t elements = NumElements(tensor.shape);
  if (first >= 0 && first <= elements && static_cast<int64_t>(count) <= elements - first) {
    return absl::OkStatus();
  }
  return absl::OutOfRangeError(
      absl::StrCat(count, " elements from ", first, " on are asked for, it has ", elements));
}

template <typename T>
T Load(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

// IEEE 754 binary16; every value is a float32.
float FromHalf(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = bits >> 10 & 0x1f;
  const uint32_t fraction = bits & 0x3ff;
  if (exponent == 0x1f) return absl::bit_cast<float>(sign | 0x7f800000 | fraction << 13);
  if (exponent != 0) return absl::bit_cast<float>(sign | (exponent + 127 - 15) << 23 | fraction << 13);
  const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
  return sign != 0 ? -magnitude : magnitude;
}

void Convert(const std::string& dtype, const uint8_t* bytes, absl::Span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    if (dtype == "F64") {
      out[i] = static_cast<float>(Load<double>(bytes + 8 * i));
    } else if (dtype == "F16") {
      out[i] = FromHalf(Load<uint16_t>(bytes + 2 * i));
    } else {  // BF16
      out[i] = absl::bit_cast<float>(static_cast<uint32_t>(Load<uint16_t>(bytes + 2 * i)) << 16);
    }
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(InputFile file, std::map<std::string, Tensor> tensors,
                                 std::map<std::string, std::string> metadata)
    : file_(std::move(file)), tensors_(std::move(tensors)), metadata_(std::move(metadata)) {}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(InputFile file, InputFile::Open(path));
  auto contents = ReadContents(file);
  if (!contents.ok()) return Annotate(contents.status(), path);
  return SafetensorsFile(std::move(file), std::move(contents->tensors), std::move(contents->metadata));
}

bool SafetensorsFile::IsFloat(const std::string& dtype) {
  return dtype == "F64" || dtype == "F32" || dtype == "F16" || dtype == "BF16";
}

absl::Status SafetensorsFile::Read(const std::string& name, int64_t first, absl::Span<float> out) const {
  const auto found = tensors_.find(name);
  const absl::Status valid = found == tensors_.end() ? absl::NotFoundError("the file has no such tensor")
                                                     : CheckRange(found->second, first, out.size());
  if (!valid.ok()) return Annotate(valid, absl::StrCat(path(), ": tensor `", name, "`"));
  return Annotate(ReadTensor(found->second, first, out), absl::StrCat("tensor `", name, "`"));
}

absl::Status SafetensorsFile::ReadTensor(const Tensor& tensor, int64_t first, absl::Span<float> out) const {
  const auto element_bytes = static_cast<int64_t>(ElementBytes(tensor.dtype));
  int64_t offset = tensor.begin + first * element_bytes;
  if (tensor.dtype == "F32") {
    return file_.ReadAt(offset, {reinterpret_cast<uint8_t*>(out.data()), out.size() * sizeof(float)});
  }
  std::vector<uint8_t> piece(kPieceBytes);
  const size_t piece_elements = kPieceBytes / static_cast<size_t>(element_bytes);
  for (size_t done = 0; done < out.size(); done += piece_elements) {
    const absl::Span<float> part = out.subspan(done, piece_elements);
    const size_t bytes = part.size() * static_cast<size_t>(element_bytes);
    TESSERA_RETURN_IF_ERROR(file_.ReadAt(offset, absl::MakeSpan(piece.data(), bytes)));
    Convert(tensor.dtype, piece.data(), part);
    offset += static_cast<int64_t>(bytes);
  }
  return absl::OkStatus();
}

}  // namespace tessera

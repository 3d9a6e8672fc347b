#include "worker/data/npy_file.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "common/status.h"
#include "worker/data/byte_reader.h"

namespace tessera {
namespace {

constexpr absl::string_view kMagic = "\x93NUMPY";
constexpr size_t kVersionBytes = 2;
constexpr uint64_t kMaxHeaderBytes = 64 * 1024;
constexpr size_t kMaxDimensions = 32;  // NumPy's own limit
// Any product above is a damaged header and no data set.
constexpr int64_t kMaxElements = int64_t{1} << 40;

struct Header {
  std::string type;  // "<f4"
  bool fortran_order = false;
  Shape shape;
};

std::string Quoted(absl::string_view text) {
  constexpr size_t kMaxShown = 60;
  return absl::StrCat("`", absl::CHexEscape(text.substr(0, kMaxShown)), "`");
}

// Reads the text of the dictionary from its start; every function takes what it names off the front, or
// fails.
class HeaderParser {
 public:
  explicit HeaderParser(absl::string_view text) : rest_(text) {}

  absl::StatusOr<Header> Parse() {
    Header header;
    bool has_type = false, has_order = false, has_shape = false;
    if (!Take("{")) return Bad();
    while (!Take("}")) {
      const std::optional<std::string> key = TakeString();
      if (!key.has_value() || !Take(":")) return Bad();
      bool ok = false;
      if (*key == "descr" && !has_type) {
        ok = has_type = TakeType(header);
      } else if (*key == "fortran_order" && !has_order) {
        ok = has_order = TakeBool(header.fortran_order);
      } else if (*key == "shape" && !has_shape) {
        ok = has_shape = TakeShape(header.shape);
      }
      if (!ok || (!Take(",") && !Next("}"))) return Bad();
    }
    Next("");  // past blanks
    if (!has_type || !has_order || !has_shape || !rest_.empty()) return Bad();
    return header;
  }

 private:
  absl::Status Bad() const {
    return absl::DataLossError(absl::StrCat("its header cannot be read from ", Quoted(rest_)));
  }

  bool Next(absl::string_view token) {
    rest_ = absl::StripLeadingAsciiWhitespace(rest_);
    return absl::StartsWith(rest_, token);
  }
  bool Take(absl::string_view token) { return Next(token) && absl::ConsumePrefix(&rest_, token); }

  std::optional<std::string> TakeString() {
    const absl::string_view quote = Next("\"") ? "\"" : "'";
    if (!Take(quote)) return std::nullopt;
    const size_t end = rest_.find(quote);
    if (end == absl::string_view::npos) return std::nullopt;
    const std::string text(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return text;
  }

  // Structured types are lists: they are no string, and so not taken.
  bool TakeType(Header& header) {
    std::optional<std::string> type = TakeString();
    if (type.has_value()) header.type = *std::move(type);
    return type.has_value();
  }

  bool TakeBool(bool& value) {
    value = Next("True");
    return Take(value ? "True" : "False");
  }

  // (2832, 144) or (2832,) or ().
  bool TakeShape(Shape& shape) {
    if (!Take("(")) return false;
    while (!Take(")")) {
      Next("");  // past blanks
      const size_t digits = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
      int64_t size = 0;
      if (shape.size() == kMaxDimensions || !absl::SimpleAtoi(rest_.substr(0, digits), &size)) return false;
      shape.push_back(size);
      rest_.remove_prefix(digits);
      if (!Take(",") && !Next(")")) return false;
    }
    return true;
  }

  absl::string_view rest_;
};

// The header's text, and the number of bytes up to the elements in `bytes`.
absl::StatusOr<std::string> ReadHeaderText(ByteReader* reader, uint64_t* bytes) {
  std::vector<uint8_t> start(kMagic.size() + kVersionBytes);
  TESSERA_ASSIGN_OR_RETURN(const size_t got, reader->Read(absl::MakeSpan(start)));
  const absl::string_view found(reinterpret_cast<const char*>(start.data()), got);
  if (!absl::StartsWith(found, kMagic.substr(0, std::min(got, kMagic.size())))) {
    return absl::InvalidArgumentError(absl::StrCat("not a NumPy array file: it starts with ", Quoted(found)));
  }
  if (got < start.size()) return Truncated(got, start.size());
  const int version = start[kMagic.size()];
  if (version < 1 || version > 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("a NumPy array file of version ", version, ", not 1 to 3"));
  }
  std::vector<uint8_t> length_bytes(version == 1 ? 2 : 4);
  TESSERA_ASSIGN_OR_RETURN(length_bytes, reader->ReadValues(length_bytes.size(), start.size()));
  uint64_t length = 0;
  for (size_t i = length_bytes.size(); i-- > 0;) length = length << 8 | length_bytes[i];
  if (length > kMaxHeaderBytes)
    return absl::DataLossError(absl::StrCat("an absurd header of ", length, " bytes"));
  const uint64_t before = start.size() + length_bytes.size();
  TESSERA_ASSIGN_OR_RETURN(const std::vector<uint8_t> text, reader->ReadValues(length, before));
  *bytes = before + length;
  return std::string(text.begin(), text.end());
}

// Product of `shape`; none is 0, and with the header it stays far from overflow.
absl::StatusOr<int64_t> CheckedElements(const Shape& shape) {
  if (shape.empty()) return absl::InvalidArgumentError("a single number and no array");
  int64_t elements = 1;
  bool fits = true;
  for (const int64_t size : shape) {
    if (size == 0) return absl::DataLossError(absl::StrCat("an empty dimension in ", ToString(shape)));
    fits = fits && !__builtin_mul_overflow(elements, size, &elements);
  }
  if (!fits || elements > kMaxElements) {
    return absl::DataLossError(absl::StrCat("absurd dimensions ", ToString(shape)));
  }
  return elements;
}

// The elements of `bytes`, `size` long each and in Fortran order (the first index is the fastest), in C
// order.
std::vector<uint8_t> ToCOrder(const std::vector<uint8_t>& bytes, const Shape& shape, size_t size) {
  std::vector<uint8_t> result(bytes.size());
  Shape index(shape.size(), 0);
  for (size_t to = 0; to < result.size(); to += size) {
    int64_t from = 0;
    for (size_t d = shape.size(); d-- > 0;) from = from * shape[d] + index[d];
    std::memcpy(&result[to], &bytes[static_cast<size_t>(from) * size], size);
    for (size_t d = shape.size(); d-- > 0 && ++index[d] == shape[d];) index[d] = 0;
  }
  return result;
}

// The little-endian numbers in `bytes`.
template <typename Stored, typename Kept>
std::vector<Kept> Numbers(const std::vector<uint8_t>& bytes) {
  std::vector<Kept> numbers(bytes.size() / sizeof(Stored));
  for (size_t i = 0; i < numbers.size(); ++i) {
    Stored number;
    std::memcpy(&number, &bytes[i * sizeof(Stored)], sizeof(Stored));
    numbers[i] = static_cast<Kept>(number);
  }
  return numbers;
}

struct ElementType {
  const char* name;
  size_t bytes;
  void (*convert)(std::vector<uint8_t> bytes, NpyArray& array);
};

constexpr ElementType kTypes[] = {
    {"|u1", 1, [](std::vector<uint8_t> bytes, NpyArray& array) { array.values = std::move(bytes); }},
    {"<f4", 4,
     [](std::vector<uint8_t> bytes, NpyArray& array) { array.values = Numbers<float, float>(bytes); }},
    {"<f8", 8,
     [](std::vector<uint8_t> bytes, NpyArray& array) { array.values = Numbers<double, float>(bytes); }},
    {"<i4", 4,
     [](std::vector<uint8_t> bytes, NpyArray& array) { array.values = Numbers<int32_t, int64_t>(bytes); }},
    {"<i8", 8,
     [](std::vector<uint8_t> bytes, NpyArray& array) { array.values = Numbers<int64_t, int64_t>(bytes); }},
};

absl::StatusOr<const ElementType*> FindType(const std::string& name) {
  for (const ElementType& type : kTypes) {
    if (name == type.name) return &type;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("elements of type ", Quoted(name),
                   ", not uint8, float32, float64, int32 or int64 in little-endian order"));
}

absl::StatusOr<NpyArray> ReadArray(ByteReader* reader) {
  uint64_t header_bytes = 0;
  TESSERA_ASSIGN_OR_RETURN(const std::string text, ReadHeaderText(reader, &header_bytes));
  TESSERA_ASSIGN_OR_RETURN(Header header, HeaderParser(text).Parse());
  TESSERA_ASSIGN_OR_RETURN(const ElementType* type, FindType(header.type));
  TESSERA_ASSIGN_OR_RETURN(const int64_t elements, CheckedElements(header.shape));
  const uint64_t bytes = static_cast<uint64_t>(elements) * type->bytes;
  TESSERA_ASSIGN_OR_RETURN(std::vector<uint8_t> values, reader->ReadValues(bytes, header_bytes));
  TESSERA_RETURN_IF_ERROR(reader->CheckEnd(
      absl::StrCat("the ", header_bytes + bytes, " that its shape ", ToString(header.shape), " gives")));
  if (header.fortran_order) values = ToCOrder(values, header.shape, type->bytes);
  NpyArray array{.shape = std::move(header.shape), .values = {}};
  type->convert(std::move(values), array);
  return array;
}

}  // namespace

absl::StatusOr<NpyArray> ReadNpyFile(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(ByteReader reader, ByteReader::Open(path));
  absl::StatusOr<NpyArray> array = ReadArray(&reader);
  if (!array.ok()) return Annotate(array.status(), path);
  return array;
}

}  // namespace tessera

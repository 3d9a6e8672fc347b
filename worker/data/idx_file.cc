#include "worker/data/idx_file.h"

#include <algorithm>
#include <array>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "common/status.h"
#include "worker/data/byte_reader.h"

namespace tessera {
namespace {

constexpr uint8_t kUnsignedByte = 0x08;
constexpr size_t kMagicBytes = 4;

// Any product above is a damaged header and no data set.
constexpr uint64_t kMaxElements = uint64_t{1} << 40;

absl::Status CheckMagic(absl::Span<const uint8_t> magic, int dimensions) {
  const std::array<uint8_t, kMagicBytes> expected = {0, 0, kUnsignedByte, static_cast<uint8_t>(dimensions)};
  if (std::equal(magic.begin(), magic.end(), expected.begin(), expected.end())) return absl::OkStatus();
  const auto hex = [](absl::Span<const uint8_t> bytes) {
    return absl::BytesToHexString({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  };
  return absl::InvalidArgumentError(absl::StrCat("not an IDX file of bytes with ", dimensions,
                                                 " dimensions: it starts with 0x", hex(magic), ", not 0x",
                                                 hex(expected)));
}

uint32_t BigEndian(const uint8_t* bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | uint32_t{bytes[3]};
}

absl::StatusOr<std::vector<uint32_t>> ReadDimensions(ByteReader* reader, int dimensions) {
  std::vector<uint8_t> header(kMagicBytes * (1 + static_cast<size_t>(dimensions)));
  TESSERA_ASSIGN_OR_RETURN(const size_t got, reader->Read(absl::MakeSpan(header)));
  if (got >= kMagicBytes) {
    TESSERA_RETURN_IF_ERROR(CheckMagic(absl::MakeSpan(header).first(kMagicBytes), dimensions));
  }
  if (got < header.size()) return Truncated(got, header.size());
  std::vector<uint32_t> result;
  for (size_t at = kMagicBytes; at < header.size(); at += 4) result.push_back(BigEndian(&header[at]));
  return result;
}

// Product of `dimensions`; none is 0, and with the header it stays far from overflow.
absl::StatusOr<uint64_t> CheckedElements(const std::vector<uint32_t>& dimensions) {
  uint64_t elements = 1;
  bool fits = true;
  for (const uint32_t dimension : dimensions) {
    if (dimension == 0) {
      return absl::DataLossError(absl::StrCat("an empty dimension in ", absl::StrJoin(dimensions, "x")));
    }
    fits = fits && !__builtin_mul_overflow(elements, uint64_t{dimension}, &elements);
  }
  if (!fits || elements > kMaxElements) {
    return absl::DataLossError(absl::StrCat("absurd dimensions ", absl::StrJoin(dimensions, "x")));
  }
  return elements;
}

absl::StatusOr<IdxArray> ReadArray(ByteReader* reader, int dimensions) {
  IdxArray array;
  TESSERA_ASSIGN_OR_RETURN(array.dimensions, ReadDimensions(reader, dimensions));
  const uint64_t header_bytes = kMagicBytes * (1 + array.dimensions.size());
  TESSERA_ASSIGN_OR_RETURN(const uint64_t elements, CheckedElements(array.dimensions));
  TESSERA_ASSIGN_OR_RETURN(array.values, reader->ReadValues(elements, header_bytes));
  TESSERA_RETURN_IF_ERROR(
      reader->CheckEnd(absl::StrCat("the ", header_bytes + elements, " that its dimensions ",
                                    absl::StrJoin(array.dimensions, "x"), " give")));
  return array;
}

}  // namespace

absl::StatusOr<IdxArray> ReadIdxFile(const std::string& path, int dimensions) {
  TESSERA_ASSIGN_OR_RETURN(ByteReader reader, ByteReader::Open(path));
  absl::StatusOr<IdxArray> array = ReadArray(&reader, dimensions);
  if (!array.ok()) return Annotate(array.status(), path);
  return array;
}

}  // namespace tessera

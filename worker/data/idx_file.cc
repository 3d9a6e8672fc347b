#include "worker/data/idx_file.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "common/file.h"
#include "common/status.h"

namespace tessera {
namespace {

constexpr uint8_t kUnsignedByte = 0x08;
constexpr size_t kMagicBytes = 4;

// Any product above is a damaged header and no data set.
constexpr uint64_t kMaxElements = uint64_t{1} << 40;

// Memory grows with what the file gives, not with what its header claims.
constexpr uint64_t kChunkBytes = uint64_t{64} << 20;

// The decompressed bytes of a file, in order.
class ByteReader {
 public:
  static absl::StatusOr<ByteReader> Open(const std::string& path) {
    // For its errors: gzopen opens folders and waits for pipes.
    TESSERA_RETURN_IF_ERROR(InputFile::Open(path).status());
    ByteReader reader(gzopen(path.c_str(), "rb"));
    if (reader.file_ == nullptr) return absl::UnavailableError(absl::StrCat(path, ": cannot open"));
    return reader;
  }

  // Fills `out` and returns its size, or the number of bytes that there were before the end.
  // Errors: kDataLoss, damaged compression.
  absl::StatusOr<size_t> Read(absl::Span<uint8_t> out) {
    size_t done = 0;
    while (done < out.size()) {
      const auto wanted = static_cast<unsigned>(std::min<size_t>(out.size() - done, 1 << 30));
      const int got = gzread(file_.get(), out.data() + done, wanted);
      if (got < 0) return Damaged();
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    return done;
  }

  // At the end of the bytes. Errors: kDataLoss, the compressed form lacks its end, and so its checksum.
  absl::Status CheckEnd() {
    int code = Z_OK;
    gzerror(file_.get(), &code);
    return code == Z_BUF_ERROR ? absl::DataLossError("truncated: the compressed data has no end")
                               : absl::OkStatus();
  }

 private:
  struct Close {
    void operator()(gzFile file) const { gzclose(file); }
  };

  explicit ByteReader(gzFile file) : file_(file) {}

  absl::Status Damaged() {
    int code = Z_OK;
    const std::string message = gzerror(file_.get(), &code);
    return code == Z_ERRNO ? absl::UnavailableError("cannot read") : absl::DataLossError(message);
  }

  std::unique_ptr<gzFile_s, Close> file_;
};

absl::Status Truncated(uint64_t got, uint64_t expected) {
  return absl::DataLossError(absl::StrCat("truncated: ", got, " of ", expected, " bytes"));
}

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
  while (array.values.size() < elements) {
    const size_t done = array.values.size();
    array.values.resize(done + std::min<uint64_t>(elements - done, kChunkBytes));
    TESSERA_ASSIGN_OR_RETURN(const size_t got, reader->Read(absl::MakeSpan(array.values).subspan(done)));
    if (done + got < array.values.size())
      return Truncated(header_bytes + done + got, header_bytes + elements);
  }
  uint8_t extra = 0;
  TESSERA_ASSIGN_OR_RETURN(const size_t trailing, reader->Read({&extra, 1}));
  if (trailing > 0) {
    return absl::DataLossError(absl::StrCat("trailing bytes after the ", header_bytes + elements,
                                            " that its dimensions ", absl::StrJoin(array.dimensions, "x"),
                                            " give"));
  }
  TESSERA_RETURN_IF_ERROR(reader->CheckEnd());
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

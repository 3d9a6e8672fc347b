#include "worker/data/byte_reader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/status.h"

namespace tessera {
namespace {

// Memory grows with what the file gives, not with what its header claims.
constexpr uint64_t kChunkBytes = uint64_t{64} << 20;

}  // namespace

absl::StatusOr<ByteReader> ByteReader::Open(const std::string& path) {
  // For its errors: gzopen opens folders and waits for pipes.
  TESSERA_RETURN_IF_ERROR(InputFile::Open(path).status());
  ByteReader reader(gzopen(path.c_str(), "rb"));
  if (reader.file_ == nullptr) return absl::UnavailableError(absl::StrCat(path, ": cannot open"));
  return reader;
}

absl::StatusOr<size_t> ByteReader::Read(absl::Span<uint8_t> out) {
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

absl::StatusOr<std::vector<uint8_t>> ByteReader::ReadValues(uint64_t count, uint64_t before) {
  std::vector<uint8_t> values;
  while (values.size() < count) {
    const size_t done = values.size();
    values.resize(done + std::min<uint64_t>(count - done, kChunkBytes));
    TESSERA_ASSIGN_OR_RETURN(const size_t got, Read(absl::MakeSpan(values).subspan(done)));
    if (done + got < values.size()) return Truncated(before + done + got, before + count);
  }
  return values;
}

absl::Status ByteReader::CheckEnd(const std::string& wanted) {
  uint8_t extra = 0;
  TESSERA_ASSIGN_OR_RETURN(const size_t trailing, Read({&extra, 1}));
  if (trailing > 0) return absl::DataLossError(absl::StrCat("trailing bytes after ", wanted));
  int code = Z_OK;
  gzerror(file_.get(), &code);
  return code == Z_BUF_ERROR ? absl::DataLossError("truncated: the compressed data has no end")
                             : absl::OkStatus();
}

absl::Status ByteReader::Damaged() {
  int code = Z_OK;
  const std::string message = gzerror(file_.get(), &code);
  return code == Z_ERRNO ? absl::UnavailableError("cannot read") : absl::DataLossError(message);
}

absl::Status Truncated(uint64_t got, uint64_t expected) {
  return absl::DataLossError(absl::StrCat("truncated: ", got, " of ", expected, " bytes"));
}

}  // namespace tessera

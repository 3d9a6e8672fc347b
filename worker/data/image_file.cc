#include "worker/data/image_file.h"

#include <algorithm>
#include <array>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/status.h"

namespace tessera {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;
constexpr std::array<uint8_t, 3> kJpegStart = {0xff, 0xd8, 0xff};
constexpr std::array<uint8_t, 8> kPngStart = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

template <size_t n>
bool StartsWith(absl::Span<const uint8_t> bytes, const std::array<uint8_t, n>& start) {
  return bytes.size() >= n && std::equal(start.begin(), start.end(), bytes.begin());
}

absl::StatusOr<std::vector<uint8_t>> ReadAll(const std::string& path) {
  TESSERA_ASSIGN_OR_RETURN(const InputFile file, InputFile::Open(path));
  if (file.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", file.size(), " bytes are no image"));
  }
  std::vector<uint8_t> bytes(static_cast<size_t>(file.size()));
  TESSERA_RETURN_IF_ERROR(file.ReadAt(0, absl::MakeSpan(bytes)));
  return bytes;
}

// Runs that of `jpeg` and `png` which the file's first bytes ask for.
template <typename Decoded>
absl::StatusOr<Decoded> Decode(const std::string& path,
                               absl::StatusOr<Decoded> (*jpeg)(absl::Span<const uint8_t>),
                               absl::StatusOr<Decoded> (*png)(absl::Span<const uint8_t>)) {
  TESSERA_ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, ReadAll(path));
  absl::StatusOr<Decoded> decoded = absl::DataLossError("the file is empty");
  if (StartsWith(bytes, kJpegStart)) {
    decoded = jpeg(bytes);
  } else if (StartsWith(bytes, kPngStart)) {
    decoded = png(bytes);
  } else if (!bytes.empty()) {
    const absl::string_view start(reinterpret_cast<const char*>(bytes.data()),
                                  std::min(bytes.size(), kPngStart.size()));
    decoded = absl::InvalidArgumentError(
        absl::StrCat("neither JPEG nor PNG: it starts with 0x", absl::BytesToHexString(start)));
  }
  if (!decoded.ok()) return Annotate(decoded.status(), path);
  return decoded;
}

}  // namespace

absl::Status CheckImageSize(int64_t height, int64_t width) {
  const std::string size = absl::StrCat(height, "x", width);
  if (height < 1 || width < 1) return absl::DataLossError(absl::StrCat("an image of ", size));
  if (height <= kMaxImageSide && width <= kMaxImageSide && height * width <= kMaxImagePixels) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("an image of ", size, " is larger than ", kMaxImageSide,
                                                 " a side or ", kMaxImagePixels, " pixels"));
}

absl::StatusOr<ImageHeader> ReadImageHeader(const std::string& path) {
  return Decode(path, &JpegHeader, &PngHeader);
}

absl::StatusOr<Image> ReadImageFile(const std::string& path) { return Decode(path, &DecodeJpeg, &DecodePng); }

}  // namespace tessera

// Decodes JPEG and PNG files, by what they contain and not by their names. Never crashes on hostile bytes,
// and takes no memory for sizes beyond the limits.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/data/image.h"

namespace tessera {

inline constexpr int64_t kMaxImageSide = 1 << 14;
inline constexpr int64_t kMaxImagePixels = int64_t{1} << 26;

struct ImageHeader {
  int64_t channels = 0;  // 1: the file is grey; 3: it has colours
  int64_t height = 0;
  int64_t width = 0;
};

// What a file says of itself, without decoding it. Errors: as ReadImageFile.
absl::StatusOr<ImageHeader> ReadImageHeader(const std::string& path);

// The image with the channels that the file has. Transparency is laid over black; 16 bits are cut to 8.
// Errors: kNotFound; kInvalidArgument, neither JPEG nor PNG, a kind that is not read (CMYK), larger than the
// limits; kDataLoss, damaged or truncated; all name `path`.
absl::StatusOr<Image> ReadImageFile(const std::string& path);

// The two of each kind; `bytes` are the file.
absl::StatusOr<ImageHeader> JpegHeader(absl::Span<const uint8_t> bytes);
absl::StatusOr<Image> DecodeJpeg(absl::Span<const uint8_t> bytes);
absl::StatusOr<ImageHeader> PngHeader(absl::Span<const uint8_t> bytes);
absl::StatusOr<Image> DecodePng(absl::Span<const uint8_t> bytes);

// Errors: kInvalidArgument, beyond the limits; kDataLoss, no pixel.
absl::Status CheckImageSize(int64_t height, int64_t width);

}  // namespace tessera

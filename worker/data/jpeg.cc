// JPEG by TurboJPEG: libjpeg-turbo's own interface, which answers errors by codes and so needs no setjmp. The
// exact inverse transform and smooth upsampling, as Pillow has them.
#include <turbojpeg.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/data/image_file.h"

namespace tessera {
namespace {

// TJFLAG_LIMITSCANS: a progressive image of thousands of scans takes minutes to decode, and no camera makes
// one.
constexpr int kFlags = TJFLAG_LIMITSCANS;

struct Destroy {
  void operator()(void* handle) const { tjDestroy(handle); }
};
using Decompressor = std::unique_ptr<void, Destroy>;

absl::Status Damaged(const Decompressor& decompressor) {
  return absl::DataLossError(absl::StrCat("damaged JPEG: ", tjGetErrorStr2(decompressor.get())));
}

absl::StatusOr<ImageHeader> ReadHeader(const Decompressor& decompressor, absl::Span<const uint8_t> bytes) {
  if (decompressor == nullptr) return absl::ResourceExhaustedError("cannot start to decode");
  int width = 0, height = 0, subsampling = 0, colours = 0;
  if (tjDecompressHeader3(decompressor.get(), bytes.data(), bytes.size(), &width, &height, &subsampling,
                          &colours) != 0) {
    return Damaged(decompressor);
  }
  if (colours == TJCS_CMYK || colours == TJCS_YCCK) {
    return absl::InvalidArgumentError("a JPEG in CMYK; convert it to RGB");
  }
  TESSERA_RETURN_IF_ERROR(CheckImageSize(height, width));
  return ImageHeader{colours == TJCS_GRAY ? 1 : 3, height, width};
}

}  // namespace

absl::StatusOr<ImageHeader> JpegHeader(absl::Span<const uint8_t> bytes) {
  const Decompressor decompressor(tjInitDecompress());
  return ReadHeader(decompressor, bytes);
}

absl::StatusOr<Image> DecodeJpeg(absl::Span<const uint8_t> bytes) {
  const Decompressor decompressor(tjInitDecompress());
  TESSERA_ASSIGN_OR_RETURN(const ImageHeader header, ReadHeader(decompressor, bytes));
  Image image{header.channels, header.height, header.width, {}};
  image.pixels.resize(static_cast<size_t>(image.channels * image.height * image.width));
  // Warnings count: what is cut off would come out grey.
  if (tjDecompress2(decompressor.get(), bytes.data(), bytes.size(), image.pixels.data(),
                    static_cast<int>(image.width), /*pitch=*/0, static_cast<int>(image.height),
                    image.channels == 1 ? TJPF_GRAY : TJPF_RGB, kFlags) != 0) {
    return Damaged(decompressor);
  }
  return image;
}

}  // namespace tessera

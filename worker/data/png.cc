// PNG by libpng's simplified interface, which answers errors by codes and so needs no setjmp.
#include <png.h>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/data/image_file.h"

namespace tessera {
namespace {

// Frees what libpng keeps, however decoding ends.
class PngReader {
 public:
  PngReader() { png_.version = PNG_IMAGE_VERSION; }
  ~PngReader() { png_image_free(&png_); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  absl::StatusOr<ImageHeader> ReadHeader(absl::Span<const uint8_t> bytes) {
    if (png_image_begin_read_from_memory(&png_, bytes.data(), bytes.size()) == 0) return Damaged();
    TESSERA_RETURN_IF_ERROR(CheckImageSize(png_.height, png_.width));
    return ImageHeader{(png_.format & PNG_FORMAT_FLAG_COLOR) != 0 ? 3 : 1, png_.height, png_.width};
  }

  absl::Status ReadPixels(Image& image) {
    constexpr png_color kBlack = {0, 0, 0};
    png_.format = image.channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
    image.pixels.resize(PNG_IMAGE_SIZE(png_));
    // Damaged pixels are errors; warnings are of what lies beside them, such as a colour profile, and are
    // common.
    return png_image_finish_read(&png_, &kBlack, image.pixels.data(), /*row_stride=*/0, nullptr) != 0
               ? absl::OkStatus()
               : Damaged();
  }

 private:
  absl::Status Damaged() const { return absl::DataLossError(absl::StrCat("damaged PNG: ", png_.message)); }

  png_image png_ = {};
};

}  // namespace

absl::StatusOr<ImageHeader> PngHeader(absl::Span<const uint8_t> bytes) {
  return PngReader().ReadHeader(bytes);
}

absl::StatusOr<Image> DecodePng(absl::Span<const uint8_t> bytes) {
  PngReader reader;
  TESSERA_ASSIGN_OR_RETURN(const ImageHeader header, reader.ReadHeader(bytes));
  Image image{header.channels, header.height, header.width, {}};
  TESSERA_RETURN_IF_ERROR(reader.ReadPixels(image));
  return image;
}

}  // namespace tessera

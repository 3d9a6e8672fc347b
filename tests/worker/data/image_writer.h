// The bytes of small image files, for tests.
#pragma once

#include <png.h>
#include <turbojpeg.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "worker/data/image.h"

namespace tessera {

// A smooth image: what JPEG keeps nearly as it was. Channel c starts at 40 c.
inline Image Gradient(int64_t channels, int64_t height, int64_t width) {
  Image image{channels, height, width, {}};
  for (int64_t i = 0; i < height; ++i) {
    for (int64_t j = 0; j < width; ++j) {
      for (int64_t c = 0; c < channels; ++c)
        image.pixels.push_back(static_cast<uint8_t>(40 * c + 3 * i + 2 * j));
    }
  }
  return image;
}

// At the best quality, without subsampling; grey or colour as the image is. `flags` are TurboJPEG's.
inline std::string JpegBytes(const Image& image, int flags = 0) {
  tjhandle compressor = tjInitCompress();
  unsigned char* bytes = nullptr;
  unsigned long size = 0;  // NOLINT: the library's type
  const bool grey = image.channels == 1;
  EXPECT_EQ(tjCompress2(compressor, image.pixels.data(), static_cast<int>(image.width), 0,
                        static_cast<int>(image.height), grey ? TJPF_GRAY : TJPF_RGB, &bytes, &size,
                        grey ? TJSAMP_GRAY : TJSAMP_444, 100, flags),
            0);
  const std::string file(reinterpret_cast<const char*>(bytes), size);
  tjFree(bytes);
  tjDestroy(compressor);
  return file;
}

// `format` is one of libpng's; `pixels` are as it says.
inline std::string PngBytes(png_uint_32 format, int64_t height, int64_t width,
                            const std::vector<uint8_t>& pixels) {
  png_image png = {};
  png.version = PNG_IMAGE_VERSION;
  png.format = format;
  png.height = static_cast<png_uint_32>(height);
  png.width = static_cast<png_uint_32>(width);
  png_alloc_size_t size = 0;
  EXPECT_NE(png_image_write_to_memory(&png, nullptr, &size, 0, pixels.data(), 0, nullptr), 0) << png.message;
  std::string file(size, '\0');
  EXPECT_NE(png_image_write_to_memory(&png, file.data(), &size, 0, pixels.data(), 0, nullptr), 0);
  file.resize(size);
  return file;
}

inline std::string PngBytes(const Image& image) {
  return PngBytes(image.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB, image.height, image.width,
                  image.pixels);
}

}  // namespace tessera

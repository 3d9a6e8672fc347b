// Labelled images in memory. One format per file in worker/data; thread-safe once created.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/options.h"
#include "common/registry.h"
#include "common/shape.h"

namespace tessera {

class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual uint32_t size() const = 0;
  virtual const Shape& image_shape() const = 0;  // [C,H,W]
  virtual int32_t classes() const = 0;           // largest label + 1
  // Pixels of sample `index`, [C,H,W], 0..255; valid as long as the data set.
  virtual absl::Span<const uint8_t> Pixels(uint32_t index) const = 0;
  virtual int32_t Label(uint32_t index) const = 0;
};

// Factories take `data.train` or `data.test` but `format`: `path`, `split`, ... and must Finish() them.
using DatasetRegistry = Registry<Dataset, Options>;

}  // namespace tessera

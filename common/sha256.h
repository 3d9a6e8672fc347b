// SHA-256 of bytes that come in pieces.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/types/span.h"

namespace tessera {

// Not thread-safe. To be used for one digest.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Add(absl::Span<const uint8_t> bytes);
  // The raw little-endian float32 bytes.
  void Add(absl::Span<const float> values);

  // Of all that was added; 32 bytes.
  std::string Digest();
  std::string HexDigest();  // in lower case

 private:
  struct Context;
  const std::unique_ptr<Context> context_;
};

}  // namespace tessera

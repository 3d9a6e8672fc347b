// Tensor bytes as they arrive or leave: a list of reference-counted pieces, never copied to be passed on.
// A float may be split between two pieces (gRPC cuts where it likes).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "common/tensor_buffer.h"

namespace tessera {

class TensorBytes {
 public:
  struct Piece {
    std::shared_ptr<const void> owner;  // keeps `bytes` alive
    absl::Span<const uint8_t> bytes;
    bool lasting = false;  // may be held for long: it takes up no buffer that a transport needs
  };

  TensorBytes() = default;
  // All of `tensor`, or its elements [offset, offset + length), by reference. The range lies in the tensor.
  explicit TensorBytes(SharedTensor tensor);
  TensorBytes(SharedTensor tensor, size_t offset, size_t length);

  void Append(Piece piece);

  size_t size_bytes() const { return size_bytes_; }
  absl::Span<const Piece> pieces() const { return pieces_; }

  // Copies everything to `out`, which holds exactly size_bytes() / 4 floats (little-endian float32):
  // callers check lengths that a peer chose before, for any other is a broken invariant.
  void CopyTo(absl::Span<float> out) const;
  // out[i] += value[i], under the same condition. One pass over the received bytes; nothing is copied first.
  void AddTo(absl::Span<float> out) const;

  // Copies the floats out from front to back, some at a time. The TensorBytes outlives it.
  class Reader {
   public:
    explicit Reader(const TensorBytes& tensor) : pieces_(tensor.pieces()) {}
    // The next out.size() floats. So many must be left.
    void CopyNext(absl::Span<float> out);

   private:
    absl::Span<const Piece> pieces_;  // from the one that is being read
    size_t offset_ = 0;               // into it
  };

 private:
  std::vector<Piece> pieces_;
  size_t size_bytes_ = 0;
};

}  // namespace tessera

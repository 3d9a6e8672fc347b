#include "common/tensor_bytes.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "common/check.h"

namespace tessera {
namespace {

static_assert(std::endian::native == std::endian::little, "tensor bytes are little-endian float32");
static_assert(sizeof(float) == 4);

// `bytes` has no alignment: memcpy is the portable unaligned load, and the compiler makes vectors of it.
void AddFloats(const uint8_t* __restrict bytes, float* __restrict out, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    float value;
    std::memcpy(&value, bytes + i * sizeof(float), sizeof(float));
    out[i] += value;
  }
}

// The bytes of a float whose first part ended a piece.
class SplitFloat {
 public:
  bool empty() const { return held_ == 0; }

  // Takes what is still missing from the front of `bytes`; true when the float is whole.
  bool Take(absl::Span<const uint8_t>& bytes) {
    const size_t taken = std::min(bytes.size(), bytes_.size() - held_);
    std::memcpy(bytes_.data() + held_, bytes.data(), taken);
    bytes.remove_prefix(taken);
    held_ += taken;
    return held_ == bytes_.size();
  }

  void AddTo(float* out) {
    AddFloats(bytes_.data(), out, 1);
    held_ = 0;
  }

 private:
  std::array<uint8_t, sizeof(float)> bytes_{};
  size_t held_ = 0;
};

}  // namespace

TensorBytes::TensorBytes(SharedTensor tensor) {
  const size_t length = tensor->size();
  *this = TensorBytes(std::move(tensor), 0, length);
}

TensorBytes::TensorBytes(SharedTensor tensor, size_t offset, size_t length) {
  TESSERA_CHECK(offset <= tensor->size() && length <= tensor->size() - offset);
  const auto* bytes = reinterpret_cast<const uint8_t*>(tensor->data() + offset);
  Append({std::move(tensor), {bytes, length * sizeof(float)}});
}

void TensorBytes::Append(Piece piece) {
  if (piece.bytes.empty()) return;
  size_bytes_ += piece.bytes.size();
  pieces_.push_back(std::move(piece));
}

void TensorBytes::CopyTo(absl::Span<float> out) const {
  TESSERA_CHECK(out.size() * sizeof(float) == size_bytes_);
  auto* target = reinterpret_cast<uint8_t*>(out.data());
  for (const Piece& piece : pieces_) {
    std::memcpy(target, piece.bytes.data(), piece.bytes.size());
    target += piece.bytes.size();
  }
}

void TensorBytes::AddTo(absl::Span<float> out) const {
  TESSERA_CHECK(out.size() * sizeof(float) == size_bytes_);
  float* target = out.data();
  SplitFloat split;
  for (const Piece& piece : pieces_) {
    absl::Span<const uint8_t> bytes = piece.bytes;
    if (!split.empty()) {
      if (!split.Take(bytes)) continue;
      split.AddTo(target++);
    }
    const size_t whole = bytes.size() / sizeof(float);
    AddFloats(bytes.data(), target, whole);
    target += whole;
    bytes.remove_prefix(whole * sizeof(float));
    if (!bytes.empty()) split.Take(bytes);
  }
}

void TensorBytes::Reader::CopyNext(absl::Span<float> out) {
  auto* target = reinterpret_cast<uint8_t*>(out.data());
  for (size_t missing = out.size() * sizeof(float); missing > 0;) {
    TESSERA_CHECK(!pieces_.empty());
    const absl::Span<const uint8_t> left = pieces_.front().bytes.subspan(offset_);
    const size_t taken = std::min(missing, left.size());
    std::memcpy(target, left.data(), taken);
    target += taken;
    missing -= taken;
    offset_ += taken;
    if (taken < left.size()) continue;
    pieces_.remove_prefix(1);
    offset_ = 0;
  }
}

}  // namespace tessera

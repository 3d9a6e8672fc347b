// ExchangeMessages to wire bytes and back. On the wire a frame is an ordinary protobuf ShardFrame: the
// headers of one or more messages, then their tensors back to back, written and read as raw slices, so that
// no tensor byte is copied on the way through here.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/exchange.h"
#include "common/shared_memory/header.h"

namespace tessera {

// A message, and what it says about shared memory beside.
struct FramedMessage {
  ExchangeMessage message;
  SharedMemoryHeader shared;
};

// More messages in a frame are refused.
inline constexpr size_t kMaxFrameMessages = 1024;

// Collects the messages of one frame.
class FrameWriter {
 public:
  void Add(const ExchangeMessage& message, const SharedMemoryHeader& shared = {});

  size_t messages() const { return messages_; }
  // Of tensors that go as bytes.
  size_t tensor_bytes() const { return tensor_bytes_; }

  // At least one was added. The slices of the result reference the tensors' pieces; no tensor byte is copied.
  grpc::ByteBuffer Finish() &&;

 private:
  std::vector<uint8_t> headers_;  // as they go, tags and lengths included
  std::vector<TensorBytes::Piece> pieces_;
  size_t messages_ = 0;
  size_t tensor_bytes_ = 0;
};

// The messages of a frame, one at least, in the order of their Add. Their tensors reference the slices of
// `buffer`; no tensor byte is copied. Errors: kInvalidArgument, bytes that are not a ShardFrame in our order
// (headers first, tensors last), tensors of another length than the headers say, an unknown kind or codec, a
// number out of range. Whatever the bytes are, this returns.
absl::StatusOr<std::vector<FramedMessage>> DecodeFrame(const grpc::ByteBuffer& buffer);

}  // namespace tessera

// ExchangeMessage to wire bytes and back. On the wire a message is an ordinary protobuf ShardMessage; the
// tensor is written and read as raw slices, so no tensor byte is copied on the way through here.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include "absl/status/statusor.h"
#include "common/exchange.h"
#include "common/shared_memory/header.h"

namespace tessera {

// The slices of the result reference the tensor's pieces; no tensor byte is copied.
grpc::ByteBuffer EncodeMessage(const ExchangeMessage& message, const SharedMemoryHeader& shared = {});

// The tensor of the result references the slices of `buffer`; no tensor byte is copied.
// Errors: kInvalidArgument, bytes that are not a ShardMessage in our order (header first, tensor last), an
// unknown kind or codec, a number out of range. Whatever the bytes are, this returns.
// `shared` gets what the message says about shared memory; null: not wanted.
absl::StatusOr<ExchangeMessage> DecodeMessage(const grpc::ByteBuffer& buffer,
                                              SharedMemoryHeader* shared = nullptr);

}  // namespace tessera

// Forwards and copies as messages between servers, and back.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/exchange.h"
#include "common/shard_layout.h"
#include "server/shard_replication.h"

namespace tessera {

// Without term and rewind.
ExchangeMessage ToMessage(const ShardForward& forward);
ShardForward ForwardFrom(const ExchangeMessage& message);

// The question what the receiver has of `shard`.
ExchangeMessage MarkQuestion(ShardId shard);
// The answer to a FORWARD or COPY, `mark` being what there is.
ExchangeMessage MarkAnswer(const ExchangeMessage& request, const ShardMark& mark);
ShardMark MarkOf(const ExchangeMessage& message);

// The tensors of a copy, one a message and by reference; the weights are the last, with all numbers.
std::vector<ExchangeMessage> ToMessages(const ShardCopy& copy);

// Puts copies together that come in pieces over one connection: of each shard of `layout` one at a time, in
// memory of their own. Not thread-safe.
class CopyAssembler {
 public:
  static constexpr size_t kMaxSlots = 8;

  // The whole copy with its last piece, else nothing. Errors: kInvalidArgument, no piece of a copy;
  // kDataLoss, pieces before the last one have not come.
  absl::StatusOr<std::optional<ShardCopy>> Add(const ExchangeMessage& piece, const ShardLayout& layout);

 private:
  struct Parts {
    ShardMark mark;
    int64_t message_term = 0;  // under another one everything is sent again
    SharedTensor previous;
    std::map<std::string, SharedTensor> slots;
  };
  std::map<ShardId, Parts> parts_;
};

}  // namespace tessera

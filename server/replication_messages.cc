#include "server/replication_messages.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status.h"
#include "common/text.h"

namespace tessera {
namespace {

constexpr char kWeights[] = "weights";
constexpr char kPrevious[] = "previous";
constexpr char kSlots[] = "slots/";

ExchangeMessage Message(MessageKind kind, ShardId shard, Version version, ReplicationFields fields) {
  ExchangeMessage message;
  message.kind = kind;
  message.shard = shard;
  message.version = version;
  message.replication = std::make_shared<const ReplicationFields>(std::move(fields));
  return message;
}

ExchangeMessage Piece(const ShardCopy& copy, std::string name, SharedTensor tensor,
                      ReplicationFields fields = {}) {
  fields.tensor = std::move(name);
  fields.update_term = copy.term;
  ExchangeMessage message =
      Message(MessageKind::kCopy, copy.snapshot.shard, copy.snapshot.version, std::move(fields));
  message.tensor = TensorBytes(std::move(tensor));
  return message;
}

ReplicationFields NumbersOf(const ShardSnapshot& snapshot) {
  return {.applied_pushes = snapshot.applied_pushes,
          .group_clocks = snapshot.policy.group_clocks,
          .replica_clocks = snapshot.policy.replica_clocks,
          .applied = snapshot.policy.applied,
          .dropped = snapshot.policy.dropped};
}

ShardSnapshot SnapshotFrom(const ExchangeMessage& piece) {
  const ReplicationFields& fields = *piece.replication;
  return {.shard = piece.shard,
          .version = piece.version,
          .applied_pushes = fields.applied_pushes,
          .policy = {fields.group_clocks, fields.replica_clocks, fields.applied, fields.dropped}};
}

}  // namespace

ExchangeMessage ToMessage(const ShardForward& forward) {
  ExchangeMessage message = Message(MessageKind::kForward, forward.shard, forward.made.version,
                                    {.update_term = forward.made.term,
                                     .group = forward.group,
                                     .covered = forward.covered,
                                     .learning_rate = forward.learning_rate});
  message.clock = forward.clock;
  message.tensor = forward.gradient;
  return message;
}

ShardForward ForwardFrom(const ExchangeMessage& message) {
  static const ReplicationFields kNone;
  const ReplicationFields& fields = message.replication == nullptr ? kNone : *message.replication;
  return {.shard = message.shard,
          .made = MarkOf(message),
          .group = fields.group,
          .clock = message.clock,
          .covered = fields.covered,
          .learning_rate = fields.learning_rate,
          .gradient = message.tensor};
}

ExchangeMessage MarkQuestion(ShardId shard) {
  ExchangeMessage question = Message(MessageKind::kForward, shard, 0, {});
  question.probe = true;
  return question;
}

ExchangeMessage MarkAnswer(const ExchangeMessage& request, const ShardMark& mark) {
  const MessageKind kind =
      request.kind == MessageKind::kCopy ? MessageKind::kCopied : MessageKind::kForwarded;
  ExchangeMessage answer = Message(kind, request.shard, mark.version, {.update_term = mark.term});
  answer.term = request.term;
  answer.rewind = request.rewind;
  answer.probe = request.probe;
  return answer;
}

ShardMark MarkOf(const ExchangeMessage& message) {
  return {message.version, message.replication == nullptr ? 0 : message.replication->update_term};
}

std::vector<ExchangeMessage> ToMessages(const ShardCopy& copy) {
  std::vector<ExchangeMessage> messages;
  for (const ShardSnapshot::Slot& slot : copy.snapshot.slots)
    messages.push_back(Piece(copy, absl::StrCat(kSlots, slot.name), slot.values));
  if (copy.previous != nullptr) messages.push_back(Piece(copy, kPrevious, copy.previous));
  ReplicationFields numbers = NumbersOf(copy.snapshot);
  numbers.pieces = static_cast<int32_t>(messages.size()) + 1;
  messages.push_back(Piece(copy, kWeights, copy.snapshot.weights, std::move(numbers)));
  return messages;
}

absl::StatusOr<std::optional<ShardCopy>> CopyAssembler::Add(const ExchangeMessage& piece,
                                                            const ShardLayout& layout) {
  const bool known = piece.shard >= 0 && static_cast<size_t>(piece.shard) < layout.shards().size();
  if (!known || piece.replication == nullptr)
    return absl::InvalidArgumentError(absl::StrCat("a copy of shard ", piece.shard, ", which is unknown"));
  const Shard& shard = layout.shards()[piece.shard];
  if (piece.tensor.size_bytes() != static_cast<size_t>(shard.bytes())) {
    return absl::InvalidArgumentError(
        absl::StrCat("a copy of ", piece.tensor.size_bytes(), " bytes, not ", shard.bytes()));
  }
  const std::string& name = piece.replication->tensor;
  Parts& parts = parts_[piece.shard];
  if (parts.mark != MarkOf(piece) || parts.message_term != piece.term) parts = {MarkOf(piece), piece.term};
  const bool slot = absl::StartsWith(name, kSlots) && parts.slots.size() < kMaxSlots;
  if (!slot && name != kPrevious && name != kWeights)
    return absl::InvalidArgumentError(absl::StrCat("a copy has no tensor ", PrintableLine(name)));
  const auto tensor = std::make_shared<TensorBuffer>(static_cast<size_t>(shard.length));
  piece.tensor.CopyTo(tensor->span());
  if (slot) parts.slots[std::string(absl::StripPrefix(name, kSlots))] = tensor;
  if (name == kPrevious) parts.previous = tensor;
  if (name != kWeights) return std::nullopt;
  const Parts all = std::exchange(parts, {});
  parts_.erase(piece.shard);
  const size_t pieces = all.slots.size() + (all.previous == nullptr ? 1 : 2);
  if (pieces != static_cast<size_t>(piece.replication->pieces)) {
    return absl::DataLossError(absl::StrCat("of a copy of ", layout.Describe(piece.shard), " ",
                                            piece.replication->pieces, " tensors were sent, ", pieces,
                                            " came"));
  }
  ShardCopy copy{SnapshotFrom(piece), all.mark.term, all.previous};
  copy.snapshot.weights = tensor;
  for (const auto& [slot_name, values] : all.slots) copy.snapshot.slots.push_back({slot_name, values});
  return copy;
}

}  // namespace tessera

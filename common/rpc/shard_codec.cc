#include "common/rpc/shard_codec.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/status.h"
#include "proto/parameter_service.pb.h"

namespace tessera {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;

constexpr uint32_t kHeaderTag =
    (wire::ShardFrame::kHeaderFieldNumber << 3) | WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
constexpr uint32_t kTensorsTag =
    (wire::ShardFrame::kTensorsFieldNumber << 3) | WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
constexpr size_t kMaxHeaderBytes = 64 * 1024;
constexpr size_t kMaxFramingBytes = 1 + 5;  // a tag of one byte, a length of at most five

absl::StatusOr<MessageKind> FromWire(wire::MessageKind kind) {
  switch (kind) {
    case wire::HELLO:
      return MessageKind::kHello;
    case wire::PUSH:
      return MessageKind::kPush;
    case wire::READ:
      return MessageKind::kRead;
    case wire::WEIGHTS:
      return MessageKind::kWeights;
    case wire::ACK:
      return MessageKind::kAck;
    case wire::ERROR:
      return MessageKind::kError;
    case wire::CREDIT:
      return MessageKind::kCredit;
    case wire::DROPPED:
      return MessageKind::kDropped;
    case wire::PENDING:
      return MessageKind::kPending;
    case wire::UNKNOWN:
      return MessageKind::kUnknown;
    case wire::FORWARD:
      return MessageKind::kForward;
    case wire::FORWARDED:
      return MessageKind::kForwarded;
    case wire::COPY:
      return MessageKind::kCopy;
    case wire::COPIED:
      return MessageKind::kCopied;
    default:
      return absl::InvalidArgumentError(absl::StrCat("unknown message kind ", static_cast<int>(kind)));
  }
}

wire::MessageKind ToWire(MessageKind kind) {
  switch (kind) {
    case MessageKind::kHello:
      return wire::HELLO;
    case MessageKind::kPush:
      return wire::PUSH;
    case MessageKind::kRead:
      return wire::READ;
    case MessageKind::kWeights:
      return wire::WEIGHTS;
    case MessageKind::kAck:
      return wire::ACK;
    case MessageKind::kError:
      return wire::ERROR;
    case MessageKind::kCredit:
      return wire::CREDIT;
    case MessageKind::kDropped:
      return wire::DROPPED;
    case MessageKind::kPending:
      return wire::PENDING;
    case MessageKind::kUnknown:
      return wire::UNKNOWN;
    case MessageKind::kForward:
      return wire::FORWARD;
    case MessageKind::kForwarded:
      return wire::FORWARDED;
    case MessageKind::kCopy:
      return wire::COPY;
    case MessageKind::kCopied:
      return wire::COPIED;
  }
  return wire::MESSAGE_KIND_UNSPECIFIED;
}

void AddShared(const SharedMemoryHeader& shared, wire::ShardHeader* header) {
  if (shared.offer.has_value()) {
    wire::SharedMemoryOffer* offer = header->mutable_shared_memory();
    offer->set_pid(shared.offer->pid);
    offer->set_fd(shared.offer->fd);
    offer->set_bytes(shared.offer->bytes);
    offer->set_token(shared.offer->token);
    offer->set_link(shared.offer->link);
    offer->set_reader(shared.offer->reader);
  }
  header->set_shared_memory_mapped(shared.mapped);
  for (const SequenceRange& consumed : shared.consumed) {
    wire::SequenceRange* range = header->add_shared_memory_consumed();
    range->set_first(consumed.first);
    range->set_last(consumed.last);
  }
  header->mutable_shared_memory_withheld_links()->Add(shared.withheld_links.begin(),
                                                      shared.withheld_links.end());
  header->mutable_shared_memory_released_links()->Add(shared.released_links.begin(),
                                                      shared.released_links.end());
  if (shared.tensor.has_value()) {
    wire::SharedTensorReference* tensor = header->mutable_shared_tensor();
    tensor->set_sequence(shared.tensor->sequence);
    tensor->set_offset(shared.tensor->offset);
    tensor->set_bytes(shared.tensor->bytes);
  }
}

SharedMemoryHeader SharedFrom(const wire::ShardHeader& header) {
  SharedMemoryHeader shared;
  if (header.has_shared_memory()) {
    const wire::SharedMemoryOffer& offer = header.shared_memory();
    shared.offer = {offer.pid(), offer.fd(), offer.bytes(), offer.token(), offer.link(), offer.reader()};
  }
  shared.mapped = header.shared_memory_mapped();
  for (const wire::SequenceRange& range : header.shared_memory_consumed()) {
    shared.consumed.push_back({range.first(), range.last()});
  }
  shared.withheld_links.assign(header.shared_memory_withheld_links().begin(),
                               header.shared_memory_withheld_links().end());
  shared.released_links.assign(header.shared_memory_released_links().begin(),
                               header.shared_memory_released_links().end());
  if (header.has_shared_tensor()) {
    const wire::SharedTensorReference& tensor = header.shared_tensor();
    shared.tensor = {tensor.sequence(), tensor.offset(), tensor.bytes()};
  }
  return shared;
}

wire::Replication ToWire(const ReplicationFields& fields) {
  wire::Replication replication;
  replication.set_node_id(fields.node_id);
  replication.set_update_term(fields.update_term);
  replication.set_group(fields.group);
  for (const ReplicaRange& range : fields.covered) {
    replication.add_covered(range.first);
    replication.add_covered(range.last);
  }
  replication.set_learning_rate(fields.learning_rate);
  replication.set_tensor(fields.tensor);
  replication.set_applied_pushes(fields.applied_pushes);
  replication.mutable_group_clocks()->Add(fields.group_clocks.begin(), fields.group_clocks.end());
  replication.mutable_replica_clocks()->Add(fields.replica_clocks.begin(), fields.replica_clocks.end());
  replication.mutable_applied()->Add(fields.applied.begin(), fields.applied.end());
  replication.set_dropped(fields.dropped);
  replication.set_pieces(fields.pieces);
  return replication;
}

absl::StatusOr<ReplicationFields> FromWire(const wire::Replication& replication) {
  if (replication.covered_size() % 2 != 0)
    return absl::InvalidArgumentError("a range of replicas without its end");
  ReplicationFields fields;
  fields.node_id = replication.node_id();
  fields.update_term = replication.update_term();
  fields.group = replication.group();
  for (int i = 0; i < replication.covered_size(); i += 2)
    fields.covered.push_back({replication.covered(i), replication.covered(i + 1)});
  fields.learning_rate = replication.learning_rate();
  fields.tensor = replication.tensor();
  fields.applied_pushes = replication.applied_pushes();
  fields.group_clocks.assign(replication.group_clocks().begin(), replication.group_clocks().end());
  fields.replica_clocks.assign(replication.replica_clocks().begin(), replication.replica_clocks().end());
  fields.applied.assign(replication.applied().begin(), replication.applied().end());
  fields.dropped = replication.dropped();
  fields.pieces = replication.pieces();
  return fields;
}

wire::ShardHeader ToHeader(const ExchangeMessage& message) {
  wire::ShardHeader header;
  header.set_kind(ToWire(message.kind));
  header.set_shard(message.shard);
  header.set_first_replica(message.replicas.first);
  header.set_last_replica(message.replicas.last);
  header.set_clock(message.clock);
  header.set_version(message.version);
  header.set_wants_weights(message.wants_weights);
  header.set_latest(message.latest);
  header.set_settled(message.settled);
  header.set_credit_bytes(message.credit_bytes);
  header.set_term(message.term);
  header.set_rewind(message.rewind);
  header.set_protocol_version(message.protocol_version);
  header.set_node(message.node);
  header.set_probe(message.probe);
  for (const ClockRange& clocks : message.next_clocks) {
    header.add_first_clock(clocks.first);
    header.add_last_clock(clocks.last);
  }
  if (message.replication != nullptr) *header.mutable_replication() = ToWire(*message.replication);
  if (!message.error.ok()) {
    header.set_error_code(static_cast<int>(message.error.code()));
    header.set_error_message(std::string(message.error.message()));
  }
  return header;
}

absl::StatusOr<ExchangeMessage> FromHeader(const wire::ShardHeader& header) {
  ExchangeMessage message;
  TESSERA_ASSIGN_OR_RETURN(message.kind, FromWire(header.kind()));
  if (header.codec() != wire::FLOAT32) {
    return absl::InvalidArgumentError(absl::StrCat("unknown codec ", static_cast<int>(header.codec())));
  }
  if (header.credit_bytes() < 0) return absl::InvalidArgumentError("negative credit_bytes");
  if (header.error_code() < 0 || header.error_code() > static_cast<int>(absl::StatusCode::kUnauthenticated)) {
    return absl::InvalidArgumentError(absl::StrCat("unknown error code ", header.error_code()));
  }
  if (message.kind == MessageKind::kError && header.error_code() == 0) {
    return absl::InvalidArgumentError("an error without its code");
  }
  message.shard = header.shard();
  message.replicas = {header.first_replica(), header.last_replica()};
  message.clock = header.clock();
  message.version = header.version();
  message.wants_weights = header.wants_weights();
  message.latest = header.latest();
  message.settled = header.settled();
  message.credit_bytes = header.credit_bytes();
  message.term = header.term();
  message.rewind = header.rewind();
  message.protocol_version = header.protocol_version();
  message.node = header.node();
  message.probe = header.probe();
  if (header.first_clock_size() != header.last_clock_size()) {
    return absl::InvalidArgumentError(absl::StrCat("clocks of ", header.first_clock_size(), " and of ",
                                                   header.last_clock_size(), " replicas"));
  }
  for (int replica = 0; replica < header.first_clock_size(); ++replica) {
    message.next_clocks.push_back({header.first_clock(replica), header.last_clock(replica)});
  }
  if (header.has_replication()) {
    TESSERA_ASSIGN_OR_RETURN(ReplicationFields fields, FromWire(header.replication()));
    message.replication = std::make_shared<const ReplicationFields>(std::move(fields));
  }
  message.error = absl::Status(static_cast<absl::StatusCode>(header.error_code()), header.error_message());
  return message;
}

// Walks the bytes of a frame's slices: many, about one for each 16 KiB, so that what is left holds them all
// as one.
class SliceCursor {
 public:
  using Slices = std::vector<grpc::Slice>;
  explicit SliceCursor(std::shared_ptr<const Slices> slices) : owner_(std::move(slices)), slices_(*owner_) {
    for (const grpc::Slice& slice : slices_) remaining_ += slice.size();
  }

  size_t remaining() const { return remaining_; }

  // Up to `size` bytes copied to `out`, without moving on; returns how many there were.
  size_t Peek(uint8_t* out, size_t size) const {
    size_t copied = 0;
    size_t offset = offset_;
    for (size_t i = index_; i < slices_.size() && copied < size; ++i, offset = 0) {
      const size_t take = std::min(size - copied, slices_[i].size() - offset);
      std::memcpy(out + copied, slices_[i].begin() + offset, take);
      copied += take;
    }
    return copied;
  }

  void Skip(size_t size) {
    Walk(size, [](absl::Span<const uint8_t>) {});
  }

  // The next `size` bytes, by reference; there must be as many.
  TensorBytes Take(size_t size) {
    TensorBytes taken;
    Walk(size, [&](absl::Span<const uint8_t> bytes) { taken.Append({owner_, bytes}); });
    return taken;
  }

 private:
  // Moves over `size` bytes, one slice's after another's.
  template <typename Visit>
  void Walk(size_t size, Visit visit) {
    while (size > 0 && index_ < slices_.size()) {
      const grpc::Slice& slice = slices_[index_];
      const size_t take = std::min(size, slice.size() - offset_);
      if (take > 0) visit(absl::Span<const uint8_t>(slice.begin() + offset_, take));
      offset_ += take;
      size -= take;
      remaining_ -= take;
      if (offset_ == slice.size()) {
        ++index_;
        offset_ = 0;
      }
    }
  }

  const std::shared_ptr<const Slices> owner_;
  const Slices& slices_;
  size_t index_ = 0;
  size_t offset_ = 0;
  size_t remaining_ = 0;
};

// Reads the tag and the length that a field begins with. Returns the tag; `length` bytes of the field are
// there.
absl::StatusOr<uint32_t> ReadField(SliceCursor* cursor, uint32_t* length) {
  uint8_t bytes[kMaxFramingBytes];
  const size_t available = cursor->Peek(bytes, sizeof(bytes));
  CodedInputStream input(bytes, static_cast<int>(available));
  const uint32_t tag = input.ReadTag();
  if ((tag != kHeaderTag && tag != kTensorsTag) || !input.ReadVarint32(length)) {
    return absl::InvalidArgumentError(
        "the bytes are not a ShardFrame: neither a header nor tensors where one must be");
  }
  cursor->Skip(static_cast<size_t>(input.CurrentPosition()));
  if (*length > cursor->remaining()) {
    return absl::InvalidArgumentError(absl::StrCat("the bytes are not a ShardFrame: a field of ", *length,
                                                   " bytes, ", cursor->remaining(), " are there"));
  }
  return tag;
}

// A message but for its tensor, of which `tensor_bytes` are to come.
absl::StatusOr<FramedMessage> ReadHeader(SliceCursor* cursor, uint32_t length, uint32_t* tensor_bytes) {
  if (length > kMaxHeaderBytes)
    return absl::InvalidArgumentError(absl::StrCat("a header of ", length, " bytes"));
  absl::InlinedVector<uint8_t, 256> bytes(length);
  cursor->Peek(bytes.data(), length);
  cursor->Skip(length);
  wire::ShardHeader header;
  if (!header.ParseFromArray(bytes.data(), static_cast<int>(length))) {
    return absl::InvalidArgumentError("the header of a message cannot be parsed");
  }
  FramedMessage framed;
  TESSERA_ASSIGN_OR_RETURN(framed.message, FromHeader(header));
  framed.shared = SharedFrom(header);
  *tensor_bytes = header.tensor_bytes();
  return framed;
}

grpc::Slice ReferencingSlice(const TensorBytes::Piece& piece) {
  auto* owner = new std::shared_ptr<const void>(piece.owner);
  return grpc::Slice(
      const_cast<uint8_t*>(piece.bytes.data()), piece.bytes.size(),
      [](void* held) { delete static_cast<std::shared_ptr<const void>*>(held); }, owner);
}

}  // namespace

void FrameWriter::Add(const ExchangeMessage& message, const SharedMemoryHeader& shared) {
  wire::ShardHeader header = ToHeader(message);
  AddShared(shared, &header);
  header.set_tensor_bytes(static_cast<uint32_t>(message.tensor.size_bytes()));
  const size_t header_bytes = header.ByteSizeLong();
  const size_t before = headers_.size();
  headers_.resize(before + kMaxFramingBytes + header_bytes);
  uint8_t* end = CodedOutputStream::WriteTagToArray(kHeaderTag, headers_.data() + before);
  end = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(header_bytes), end);
  end = header.SerializeWithCachedSizesToArray(end);
  headers_.resize(static_cast<size_t>(end - headers_.data()));
  const absl::Span<const TensorBytes::Piece> pieces = message.tensor.pieces();
  pieces_.insert(pieces_.end(), pieces.begin(), pieces.end());
  tensor_bytes_ += message.tensor.size_bytes();
  ++messages_;
}

grpc::ByteBuffer FrameWriter::Finish() && {
  if (tensor_bytes_ > 0) {
    const size_t before = headers_.size();
    headers_.resize(before + kMaxFramingBytes);
    uint8_t* end = CodedOutputStream::WriteTagToArray(kTensorsTag, headers_.data() + before);
    end = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(tensor_bytes_), end);
    headers_.resize(static_cast<size_t>(end - headers_.data()));
  }
  std::vector<grpc::Slice> slices;
  slices.reserve(1 + pieces_.size());
  slices.emplace_back(headers_.data(), headers_.size());
  for (const TensorBytes::Piece& piece : pieces_) slices.push_back(ReferencingSlice(piece));
  return grpc::ByteBuffer(slices.data(), slices.size());
}

absl::StatusOr<std::vector<FramedMessage>> DecodeFrame(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> received;
  if (!buffer.Valid() || !buffer.Dump(&received).ok())
    return absl::InvalidArgumentError("an unreadable message");
  SliceCursor cursor(std::make_shared<const std::vector<grpc::Slice>>(std::move(received)));
  std::vector<FramedMessage> messages;
  absl::InlinedVector<uint32_t, 8> tensor_bytes;  // by message
  uint64_t expected = 0;                          // of them all
  uint32_t length = 0;                            // of the tensors, in the end
  do {
    TESSERA_ASSIGN_OR_RETURN(const uint32_t tag, ReadField(&cursor, &length));
    if (tag == kTensorsTag) break;
    if (messages.size() == kMaxFrameMessages)
      return absl::InvalidArgumentError("a frame of too many messages");
    TESSERA_ASSIGN_OR_RETURN(messages.emplace_back(),
                             ReadHeader(&cursor, length, &tensor_bytes.emplace_back()));
    expected += tensor_bytes.back();
    length = 0;
  } while (cursor.remaining() > 0);
  if (messages.empty())
    return absl::InvalidArgumentError("the bytes are not a ShardFrame: tensors without a header");
  if (length != expected || length != cursor.remaining()) {
    return absl::InvalidArgumentError(absl::StrCat("tensors of ", expected,
                                                   " bytes are expected in a frame that has ",
                                                   cursor.remaining(), " and says ", length));
  }
  for (size_t i = 0; i < messages.size(); ++i) messages[i].message.tensor = cursor.Take(tensor_bytes[i]);
  return messages;
}

}  // namespace tessera

#include "common/rpc/shard_codec.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "common/random.h"
#include "proto/parameter_service.pb.h"

namespace tessera {
namespace {

SharedTensor MakeTensor(size_t length) {
  auto tensor = std::make_shared<TensorBuffer>(length);
  for (size_t i = 0; i < length; ++i) tensor->data()[i] = static_cast<float>(i) * 0.5f;
  return tensor;
}

ExchangeMessage MakePush(SharedTensor tensor) {
  ExchangeMessage message;
  message.kind = MessageKind::kPush;
  message.shard = 5;
  message.replicas = {2, 3};
  message.clock = 1234567890123;
  message.version = 42;
  message.wants_weights = true;
  message.credit_bytes = 99;
  message.term = 7;
  message.node = "worker 1";
  message.tensor = TensorBytes(std::move(tensor));
  return message;
}

std::string Flatten(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices)
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

// `bytes` as slices cut at every `piece` bytes.
grpc::ByteBuffer Cut(const std::string& bytes, size_t piece) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < bytes.size(); at += piece) slices.emplace_back(bytes.substr(at, piece));
  return grpc::ByteBuffer(slices.data(), slices.size());
}

// A frame of one message, there and back.
grpc::ByteBuffer EncodeMessage(const ExchangeMessage& message, const SharedMemoryHeader& shared = {}) {
  FrameWriter frame;
  frame.Add(message, shared);
  return std::move(frame).Finish();
}

absl::StatusOr<ExchangeMessage> DecodeMessage(const grpc::ByteBuffer& buffer,
                                              SharedMemoryHeader* shared = nullptr) {
  absl::StatusOr<std::vector<FramedMessage>> messages = DecodeFrame(buffer);
  if (!messages.ok()) return messages.status();
  EXPECT_EQ(messages->size(), 1u);
  if (shared != nullptr) *shared = messages->front().shared;
  return std::move(messages->front().message);
}

TEST(ShardCodec, MessagesBetweenServersComeBackWhole) {
  for (const MessageKind kind :
       {MessageKind::kForward, MessageKind::kForwarded, MessageKind::kCopy, MessageKind::kCopied}) {
    ExchangeMessage message;
    message.kind = kind;
    message.version = -1;
    message.replication = std::make_shared<const ReplicationFields>(
        ReplicationFields{.node_id = 4,
                          .update_term = int64_t{3} << 32,
                          .group = 2,
                          .covered = {{4, 5}, {7, 7}},
                          .learning_rate = 0.1,  // no float: all its bits count
                          .tensor = "slots/exp_avg",
                          .applied_pushes = 12,
                          .group_clocks = {1, 2, 3},
                          .replica_clocks = {1, 2},
                          .applied = {0, 9},
                          .dropped = 5,
                          .pieces = 6});
    const absl::StatusOr<ExchangeMessage> decoded = DecodeMessage(EncodeMessage(message));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(decoded->kind, kind);
    EXPECT_EQ(decoded->version, -1);
    ASSERT_NE(decoded->replication, nullptr);
    EXPECT_EQ(*decoded->replication, *message.replication);
  }
  EXPECT_EQ(DecodeMessage(EncodeMessage(ExchangeMessage{.kind = MessageKind::kAck}))->replication, nullptr);
}

TEST(ShardCodec, RangeOfReplicasWithoutItsEndIsRefused) {
  wire::ShardFrame frame;
  wire::ShardHeader* header = frame.add_header();
  header->set_kind(wire::FORWARD);
  header->mutable_replication()->add_covered(1);
  const absl::StatusOr<ExchangeMessage> decoded = DecodeMessage(Cut(frame.SerializeAsString(), 9));
  EXPECT_EQ(decoded.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ShardCodec, WhatIsEncodedIsAnOrdinaryProtobufMessage) {
  const SharedTensor tensor = MakeTensor(300);
  wire::ShardFrame parsed;
  ASSERT_TRUE(parsed.ParseFromString(Flatten(EncodeMessage(MakePush(tensor)))));
  EXPECT_EQ(parsed.header(0).kind(), wire::PUSH);
  EXPECT_EQ(parsed.header(0).shard(), 5);
  EXPECT_EQ(parsed.header(0).last_replica(), 3);
  EXPECT_EQ(parsed.header(0).clock(), 1234567890123);
  EXPECT_EQ(parsed.header(0).node(), "worker 1");
  ASSERT_EQ(parsed.tensors().size(), 1200u);
  EXPECT_EQ(std::memcmp(parsed.tensors().data(), tensor->data(), 1200), 0);
}

TEST(ShardCodec, WhatIsSaidOfSharedMemoryTravelsInTheHeader) {
  SharedMemoryHeader said;
  said.offer = {4711, 9, uint64_t{1} << 40, std::string("0123456789\0abcde", 16), ~uint64_t{0}, 12};
  said.mapped = true;
  said.consumed = {{1, 7}, {9, ~uint64_t{0}}};
  said.tensor = {3, uint64_t{1} << 33, 4000};
  said.withheld_links = {1, ~uint64_t{0}};
  said.released_links = {5};
  ExchangeMessage push = MakePush(MakeTensor(1));
  push.tensor = TensorBytes();
  SharedMemoryHeader heard;
  ASSERT_TRUE(DecodeMessage(EncodeMessage(push, said), &heard).ok());
  ASSERT_TRUE(heard.offer.has_value() && heard.tensor.has_value());
  EXPECT_EQ(heard.offer->pid, said.offer->pid);
  EXPECT_EQ(heard.offer->fd, said.offer->fd);
  EXPECT_EQ(heard.offer->bytes, said.offer->bytes);
  EXPECT_EQ(heard.offer->token, said.offer->token);
  EXPECT_EQ(heard.offer->link, said.offer->link);
  EXPECT_EQ(heard.offer->reader, said.offer->reader);
  EXPECT_EQ(heard.withheld_links, said.withheld_links);
  EXPECT_EQ(heard.released_links, said.released_links);
  EXPECT_TRUE(heard.mapped);
  EXPECT_EQ(heard.consumed, said.consumed);
  EXPECT_EQ(heard.tensor->sequence, said.tensor->sequence);
  EXPECT_EQ(heard.tensor->offset, said.tensor->offset);
  EXPECT_EQ(heard.tensor->bytes, said.tensor->bytes);

  ASSERT_TRUE(DecodeMessage(EncodeMessage(push), &heard).ok());
  EXPECT_FALSE(heard.offer.has_value() || heard.mapped || !heard.consumed.empty() ||
               heard.tensor.has_value() || !heard.withheld_links.empty() || !heard.released_links.empty());
}

TEST(ShardCodec, AnyGrpcClientsMessageIsReadWhereverItsSlicesAreCut) {
  const SharedTensor tensor = MakeTensor(57);
  const std::string bytes = Flatten(EncodeMessage(MakePush(tensor)));
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    const absl::StatusOr<ExchangeMessage> message = DecodeMessage(Cut(bytes, piece));
    ASSERT_TRUE(message.ok()) << piece << ": " << message.status();
    EXPECT_EQ(message->replicas, (ReplicaRange{2, 3}));
    EXPECT_EQ(message->credit_bytes, 99);
    EXPECT_TRUE(message->wants_weights);
    std::vector<float> values(57);
    ASSERT_EQ(message->tensor.size_bytes(), 57 * sizeof(float));
    message->tensor.CopyTo(absl::MakeSpan(values));
    EXPECT_EQ(std::memcmp(values.data(), tensor->data(), 57 * sizeof(float)), 0) << piece;
  }
}

TEST(ShardCodec, NoTensorByteIsCopiedOnEitherSide) {
  const SharedTensor tensor = MakeTensor(100000);
  const ExchangeMessage push = MakePush(tensor);
  const grpc::ByteBuffer buffer = EncodeMessage(push);
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(buffer.Dump(&slices).ok());
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_EQ(slices[1].begin(), reinterpret_cast<const uint8_t*>(tensor->data()));

  const absl::StatusOr<ExchangeMessage> decoded = DecodeMessage(buffer);
  ASSERT_TRUE(decoded.ok());
  ASSERT_EQ(decoded->tensor.pieces().size(), 1u);
  EXPECT_EQ(decoded->tensor.pieces()[0].bytes.data(), reinterpret_cast<const uint8_t*>(tensor->data()));
}

TEST(ShardCodec, AMessageKeepsItsTensorAliveUntilItIsSent) {
  SharedTensor tensor = MakeTensor(1000);
  std::weak_ptr<const TensorBuffer> watch = tensor;
  {
    grpc::ByteBuffer buffer = EncodeMessage(MakePush(std::move(tensor)));
    EXPECT_FALSE(watch.expired());
  }
  EXPECT_TRUE(watch.expired());
}

TEST(ShardCodec, SeveralMessagesShareAFrameEachWithItsOwnTensor) {
  FrameWriter frame;
  const std::vector<size_t> lengths = {3, 0, 0, 5000, 1};
  std::vector<SharedTensor> tensors;
  for (size_t i = 0; i < lengths.size(); ++i) {
    ExchangeMessage message = MakePush(MakeTensor(lengths[i] + 1));
    message.shard = static_cast<ShardId>(i);
    message.tensor = TensorBytes();
    if (lengths[i] > 0)
      message.tensor = TensorBytes(tensors.emplace_back(MakeTensor(lengths[i] + 1)), 1, lengths[i]);
    SharedMemoryHeader shared;
    shared.consumed = {{i + 1, i + 1}};
    frame.Add(message, shared);
  }
  EXPECT_EQ(frame.messages(), lengths.size());
  EXPECT_EQ(frame.tensor_bytes(), 5004 * sizeof(float));
  const std::string bytes = Flatten(std::move(frame).Finish());
  for (size_t piece : {size_t{1}, size_t{7}, size_t{100}, bytes.size()}) {
    const absl::StatusOr<std::vector<FramedMessage>> messages = DecodeFrame(Cut(bytes, piece));
    ASSERT_TRUE(messages.ok()) << messages.status();
    ASSERT_EQ(messages->size(), lengths.size());
    for (size_t i = 0; i < lengths.size(); ++i) {
      const FramedMessage& framed = (*messages)[i];
      EXPECT_EQ(framed.message.shard, static_cast<ShardId>(i));
      EXPECT_EQ(framed.shared.consumed, (std::vector<SequenceRange>{{i + 1, i + 1}}));
      std::vector<float> values(lengths[i]), expected(lengths[i]);
      ASSERT_EQ(framed.message.tensor.size_bytes(), lengths[i] * sizeof(float));
      framed.message.tensor.CopyTo(absl::MakeSpan(values));
      for (size_t j = 0; j < lengths[i]; ++j) expected[j] = static_cast<float>(j + 1) * 0.5f;
      EXPECT_EQ(values, expected) << "message " << i;
    }
  }
}

TEST(ShardCodec, FramesWhoseLengthsDisagreeAreRefused) {
  const auto decode = [](const wire::ShardFrame& frame) {
    return std::string(DecodeFrame(Cut(frame.SerializeAsString(), 1000)).status().message());
  };
  wire::ShardFrame frame;
  frame.set_tensors("abcd");
  EXPECT_NE(decode(frame).find("tensors without a header"), std::string::npos) << decode(frame);
  for (uint32_t bytes : {0u, 3u, 5u, ~0u}) {
    frame.clear_header();
    frame.add_header()->set_kind(wire::PUSH);
    wire::ShardHeader* second = frame.add_header();
    second->set_kind(wire::PUSH);
    second->set_tensor_bytes(bytes);
    EXPECT_NE(decode(frame).find("expected"), std::string::npos) << bytes << ": " << decode(frame);
    frame.mutable_header(0)->set_tensor_bytes(~0u);
    EXPECT_NE(decode(frame).find("expected"), std::string::npos) << "in 64 bits: " << decode(frame);
  }
  wire::ShardFrame endless;
  for (size_t i = 0; i <= kMaxFrameMessages; ++i) endless.add_header()->set_kind(wire::CREDIT);
  EXPECT_NE(decode(endless).find("too many"), std::string::npos) << decode(endless);
}

TEST(ShardCodec, AnErrorTravelsWithItsCode) {
  ExchangeMessage message;
  message.kind = MessageKind::kError;
  message.error = absl::FailedPreconditionError("clock 7 skips ahead");
  const absl::StatusOr<ExchangeMessage> decoded = DecodeMessage(EncodeMessage(message));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->error, message.error);
}

TEST(ShardCodec, BytesThatAreNotAMessageAreRefusedAndNeverCrash) {
  const std::string good = Flatten(EncodeMessage(MakePush(MakeTensor(20))));
  EXPECT_FALSE(DecodeMessage(grpc::ByteBuffer()).ok());
  EXPECT_FALSE(DecodeMessage(Cut("GET / HTTP/1.1\r\n\r\n", 100)).ok());
  EXPECT_FALSE(DecodeMessage(Cut(good + "x", 1000)).ok()) << "bytes after the tensor";
  for (size_t length = 0; length < good.size(); ++length) {
    const absl::StatusOr<ExchangeMessage> cut = DecodeMessage(Cut(good.substr(0, length), 7));
    EXPECT_FALSE(cut.ok()) << length;
  }
  const RandomStream random(1, RandomPurpose::kAugmentation);
  uint64_t draw = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    for (int change = 0; change < 3; ++change) {
      const uint64_t where = random.Below(draw++, bytes.size());
      bytes[where] = static_cast<char>(random.Bits(draw++));
    }
    (void)DecodeMessage(Cut(bytes, 1 + random.Below(draw++, bytes.size())));
  }
}

TEST(ShardCodec, UnknownKindsCodecsAndNegativeCreditAreRefusedByName) {
  const auto decode = [](const wire::ShardFrame& message) {
    return std::string(DecodeMessage(Cut(message.SerializeAsString(), 1000)).status().message());
  };
  wire::ShardFrame message;
  wire::ShardHeader* header = message.add_header();
  header->set_kind(static_cast<wire::MessageKind>(77));
  EXPECT_EQ(decode(message), "unknown message kind 77");
  header->set_kind(wire::PUSH);
  header->set_codec(static_cast<wire::Codec>(9));
  EXPECT_EQ(decode(message), "unknown codec 9");
  header->set_codec(wire::FLOAT32);
  header->set_credit_bytes(-1);
  EXPECT_EQ(decode(message), "negative credit_bytes");
}

}  // namespace
}  // namespace tessera

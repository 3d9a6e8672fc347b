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

TEST(ShardCodec, WhatIsEncodedIsAnOrdinaryProtobufMessage) {
  const SharedTensor tensor = MakeTensor(300);
  wire::ShardMessage parsed;
  ASSERT_TRUE(parsed.ParseFromString(Flatten(EncodeMessage(MakePush(tensor)))));
  EXPECT_EQ(parsed.header().kind(), wire::PUSH);
  EXPECT_EQ(parsed.header().shard(), 5);
  EXPECT_EQ(parsed.header().last_replica(), 3);
  EXPECT_EQ(parsed.header().clock(), 1234567890123);
  EXPECT_EQ(parsed.header().node(), "worker 1");
  ASSERT_EQ(parsed.tensor().size(), 1200u);
  EXPECT_EQ(std::memcmp(parsed.tensor().data(), tensor->data(), 1200), 0);
}

TEST(ShardCodec, WhatIsSaidOfSharedMemoryTravelsInTheHeader) {
  SharedMemoryHeader said;
  said.offer = {4711, 9, uint64_t{1} << 40, std::string("0123456789\0abcde", 16)};
  said.mapped = true;
  said.consumed = ~uint64_t{0};
  said.tensor = {3, uint64_t{1} << 33, 4000};
  ExchangeMessage push = MakePush(MakeTensor(1));
  push.tensor = TensorBytes();
  SharedMemoryHeader heard;
  ASSERT_TRUE(DecodeMessage(EncodeMessage(push, said), &heard).ok());
  ASSERT_TRUE(heard.offer.has_value() && heard.tensor.has_value());
  EXPECT_EQ(heard.offer->pid, said.offer->pid);
  EXPECT_EQ(heard.offer->fd, said.offer->fd);
  EXPECT_EQ(heard.offer->bytes, said.offer->bytes);
  EXPECT_EQ(heard.offer->token, said.offer->token);
  EXPECT_TRUE(heard.mapped);
  EXPECT_EQ(heard.consumed, said.consumed);
  EXPECT_EQ(heard.tensor->sequence, said.tensor->sequence);
  EXPECT_EQ(heard.tensor->offset, said.tensor->offset);
  EXPECT_EQ(heard.tensor->bytes, said.tensor->bytes);

  ASSERT_TRUE(DecodeMessage(EncodeMessage(push), &heard).ok());
  EXPECT_FALSE(heard.offer.has_value() || heard.mapped || heard.consumed > 0 || heard.tensor.has_value());
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
    EXPECT_TRUE(!cut.ok() || cut->tensor.size_bytes() == 0) << "only the header alone is whole: " << length;
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
  const auto decode = [](const wire::ShardMessage& message) {
    return std::string(DecodeMessage(Cut(message.SerializeAsString(), 1000)).status().message());
  };
  wire::ShardMessage message;
  message.mutable_header()->set_kind(static_cast<wire::MessageKind>(77));
  EXPECT_EQ(decode(message), "unknown message kind 77");
  message.mutable_header()->set_kind(wire::PUSH);
  message.mutable_header()->set_codec(static_cast<wire::Codec>(9));
  EXPECT_EQ(decode(message), "unknown codec 9");
  message.mutable_header()->set_codec(wire::FLOAT32);
  message.mutable_header()->set_credit_bytes(-1);
  EXPECT_EQ(decode(message), "negative credit_bytes");
}

}  // namespace
}  // namespace tessera

#include "common/shared_memory/link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/common/shared_memory/child.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

constexpr size_t kFloats = 1024;  // of a page: the segments have room for kTensors of them
constexpr size_t kTensors = 4;

std::shared_ptr<Outbox> MakeOutbox() { return *Outbox::Create(kTensors * kFloats * sizeof(float)); }

ExchangeMessage Message(MessageKind kind, TensorBytes tensor = {}) {
  ExchangeMessage message;
  message.kind = kind;
  message.tensor = std::move(tensor);
  return message;
}

// One end of a connection, with a pool of its outbox.
struct End {
  explicit End(std::shared_ptr<Outbox> box,
               std::shared_ptr<InboundLinks> links = std::make_shared<InboundLinks>())
      : outbox(std::move(box)),
        inbound(std::move(links)),
        pool(0, outbox == nullptr ? nullptr : outbox->segment()),
        link([outbox = outbox] { return outbox; }, inbound) {}

  std::shared_ptr<TensorBuffer> Tensor(float value) {
    std::shared_ptr<TensorBuffer> tensor = pool.Take(kFloats);
    std::fill_n(tensor->data(), kFloats, value);
    return tensor;
  }
  SharedMemoryHeader Send(ExchangeMessage message) { return link.OnSend(&message); }
  SharedMemoryHeader SendTensor(float value) {
    return Send(Message(MessageKind::kPush, TensorBytes(Tensor(value))));
  }
  // Tensors that the pool could still take from the segment.
  size_t Room() {
    std::vector<float*> given;
    while (float* const floats = outbox->segment()->Allocate(kFloats)) given.push_back(floats);
    for (float* floats : given) outbox->segment()->Free(floats, kFloats);
    return given.size();
  }

  std::shared_ptr<Outbox> outbox;
  std::shared_ptr<InboundLinks> inbound;
  BufferPool pool;
  SharedMemoryLink link;
};

class Link : public ::testing::Test {
 protected:
  static absl::Status Deliver(const SharedMemoryHeader& header, End* to,
                              MessageKind kind = MessageKind::kPush) {
    ExchangeMessage message = Message(kind);
    return to->link.OnReceive(header, &message);
  }
  static ExchangeMessage Received(const SharedMemoryHeader& header, End* to) {
    ExchangeMessage message = Message(MessageKind::kPush);
    EXPECT_TRUE(to->link.OnReceive(header, &message).ok());
    return message;
  }
  void Greet() {
    EXPECT_TRUE(Deliver(client_.Send(Message(MessageKind::kHello)), &server_, MessageKind::kHello).ok());
    EXPECT_TRUE(Deliver(server_.Send(Message(MessageKind::kHello)), &client_, MessageKind::kHello).ok());
  }
  void Agree() {
    Greet();
    EXPECT_TRUE(client_.link.HasAnnouncement());
    EXPECT_TRUE(Deliver(client_.Send(Message(MessageKind::kCredit)), &server_, MessageKind::kCredit).ok());
    EXPECT_FALSE(client_.link.HasAnnouncement());
  }
  // The client tells, with any message, how far it is.
  void TellServer() { EXPECT_TRUE(Deliver(client_.Send(Message(MessageKind::kCredit)), &server_).ok()); }

  static void ExpectBad(const absl::Status& status, const std::string& text) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }

  End client_{MakeOutbox()};
  End server_{MakeOutbox()};
};

TEST_F(Link, TensorsGoByReferenceBothWaysOnceBothHaveMapped) {
  Agree();
  for (const auto& [from, to] : {std::pair{&client_, &server_}, {&server_, &client_}}) {
    ExchangeMessage push = Message(MessageKind::kPush, TensorBytes(from->Tensor(3.0f)));
    const SharedMemoryHeader header = from->link.OnSend(&push);
    ASSERT_TRUE(header.tensor.has_value());
    EXPECT_EQ(push.tensor.size_bytes(), 0u) << "its bytes stay";
    std::vector<float> values(kFloats);
    Received(header, to).tensor.CopyTo(absl::MakeSpan(values));
    EXPECT_EQ(values, std::vector<float>(kFloats, 3.0f));
    EXPECT_THAT(from->link.TakeNews(), HasSubstr("through shared memory"));
  }
  EXPECT_EQ(client_.outbox->shared_bytes(), int64_t{2 * kFloats * sizeof(float)});
}

TEST_F(Link, UntilThePeerHasMappedBytesGo) {
  EXPECT_FALSE(client_.SendTensor(1).tensor.has_value());
  Greet();
  EXPECT_FALSE(server_.SendTensor(1).tensor.has_value()) << "the client has not told yet";
  EXPECT_TRUE(client_.SendTensor(1).tensor.has_value()) << "the server's hello told";
}

TEST_F(Link, WhatLiesElsewhereGoesAsBytes) {
  Agree();
  const auto heap = std::make_shared<TensorBuffer>(kFloats);
  TensorBytes two_pieces(client_.Tensor(1));
  two_pieces.Append(TensorBytes(client_.Tensor(2)).pieces().front());
  for (const TensorBytes& tensor : {TensorBytes(heap), two_pieces, TensorBytes()}) {
    ExchangeMessage push = Message(MessageKind::kPush, tensor);
    EXPECT_FALSE(client_.link.OnSend(&push).tensor.has_value());
    EXPECT_EQ(push.tensor.size_bytes(), tensor.size_bytes());
  }
}

TEST_F(Link, APartOfATensorGoesByReferenceToo) {
  Agree();
  const auto block = client_.Tensor(1);
  block->data()[9] = 9;
  const SharedMemoryHeader header = client_.Send(Message(MessageKind::kPush, TensorBytes(block, 9, 1)));
  std::vector<float> values(1);
  Received(header, &server_).tensor.CopyTo(absl::MakeSpan(values));
  EXPECT_EQ(values[0], 9);
}

TEST_F(Link, ATensorIsKeptUntilItIsConsumedWhateverElseIsHeld) {
  Agree();
  std::vector<ExchangeMessage> received;
  for (int i = 0; i < 3; ++i) received.push_back(Received(server_.SendTensor(1), &client_));
  EXPECT_EQ(server_.Room(), kTensors - 3);
  TensorBytes copy = received[0].tensor;  // somebody else still reads it
  for (const int dropped : {2, 0}) received[dropped].tensor = TensorBytes();
  EXPECT_EQ(server_.Room(), kTensors - 3) << "nothing has been told";
  TellServer();
  EXPECT_EQ(server_.Room(), kTensors - 2) << "the first is still read";
  received[1].tensor = TensorBytes();
  TellServer();
  EXPECT_EQ(server_.Room(), kTensors - 1);
  copy = TensorBytes();
  TellServer();
  EXPECT_EQ(server_.Room(), kTensors) << "now all of them";
}

TEST_F(Link, APeerThatConsumesNothingGetsBytesInTheEnd) {
  Agree();
  const TensorBytes version(server_.Tensor(1));  // one for all, as readers of the newest weights get it
  SharedMemoryHeader last;
  for (size_t i = 0; i < SharedMemoryLink::kMostUnderWay; ++i) {
    last = server_.Send(Message(MessageKind::kWeights, version));
    ASSERT_TRUE(last.tensor.has_value());
  }
  ExchangeMessage more = Message(MessageKind::kWeights, version);
  EXPECT_FALSE(server_.link.OnSend(&more).tensor.has_value());
  EXPECT_EQ(more.tensor.size_bytes(), version.size_bytes());
  SharedMemoryHeader consumed;
  consumed.consumed = {{1, 1}};
  EXPECT_TRUE(Deliver(consumed, &server_).ok());
  EXPECT_EQ(server_.Send(Message(MessageKind::kWeights, version)).tensor->sequence,
            last.tensor->sequence + 1);
}

TEST_F(Link, WhatIsConsumedIsToldOnceAndInRanges) {
  Agree();
  std::vector<ExchangeMessage> received;
  for (int i = 0; i < 4; ++i) received.push_back(Received(server_.SendTensor(1), &client_));
  for (const int dropped : {3, 0, 1}) received[dropped].tensor = TensorBytes();
  const auto tell = [this] { return client_.Send(Message(MessageKind::kCredit)).consumed; };
  EXPECT_EQ(tell(), (std::vector<SequenceRange>{{1, 2}, {4, 4}}));
  EXPECT_EQ(tell(), std::vector<SequenceRange>());
  received[2].tensor = TensorBytes();
  EXPECT_EQ(tell(), (std::vector<SequenceRange>{{3, 3}}));
}

TEST_F(Link, OneMessageTellsOnlySoMuch) {
  // A header has its limit, whatever a peer drops at once.
  Agree();
  constexpr size_t kSent = 2 * SharedMemoryHeader::kMostRanges + 20;
  const auto tensor = server_.Tensor(1);
  std::vector<ExchangeMessage> received;
  for (size_t i = 0; i < kSent; ++i) {
    received.push_back(Received(server_.Send(Message(MessageKind::kWeights, TensorBytes(tensor))), &client_));
  }
  for (size_t i = 0; i < kSent; i += 2) received[i].tensor = TensorBytes();
  const SharedMemoryHeader first = client_.Send(Message(MessageKind::kCredit));
  const SharedMemoryHeader second = client_.Send(Message(MessageKind::kCredit));
  EXPECT_EQ(first.consumed.size(), SharedMemoryHeader::kMostRanges);
  EXPECT_EQ(second.consumed.size(), kSent / 2 - SharedMemoryHeader::kMostRanges);
  EXPECT_TRUE(Deliver(first, &server_).ok() && Deliver(second, &server_).ok());
}

TEST_F(Link, WhatComesByReferenceMayBeHeld) {
  Agree();
  EXPECT_TRUE(Received(server_.SendTensor(1), &client_).tensor.pieces().front().lasting);
}

TEST_F(Link, AnEndWithoutAnOutboxGetsAndSendsBytes) {
  for (const bool client_has : {true, false}) {
    End client(client_has ? MakeOutbox() : nullptr);
    End server(client_has ? nullptr : MakeOutbox());
    const SharedMemoryHeader hello = client.Send(Message(MessageKind::kHello));
    EXPECT_EQ(hello.offer.has_value(), client_has);
    EXPECT_TRUE(Deliver(hello, &server, MessageKind::kHello).ok());
    const SharedMemoryHeader answer = server.Send(Message(MessageKind::kHello));
    EXPECT_FALSE(answer.offer.has_value()) << "nothing is told to whom it is of no use";
    EXPECT_TRUE(Deliver(answer, &client, MessageKind::kHello).ok());
    EXPECT_FALSE(client.link.HasAnnouncement());
    for (End* end : {&client, &server}) EXPECT_FALSE(end->SendTensor(1).tensor.has_value());
  }
}

TEST_F(Link, AnOfferThatCanNotBeVerifiedMeansBytesAndALineThatSaysWhy) {
  SharedMemoryHeader hello = client_.Send(Message(MessageKind::kHello));
  hello.offer->token[3] ^= 1;
  EXPECT_TRUE(Deliver(hello, &server_, MessageKind::kHello).ok());
  const SharedMemoryHeader answer = server_.Send(Message(MessageKind::kHello));
  EXPECT_FALSE(answer.offer.has_value() || answer.mapped);
  EXPECT_THAT(server_.link.TakeNews(), HasSubstr("over TCP"));
  EXPECT_TRUE(Deliver(answer, &client_, MessageKind::kHello).ok());
  EXPECT_THAT(client_.link.TakeNews(), HasSubstr("over TCP"));
  for (End* end : {&client_, &server_}) EXPECT_FALSE(end->SendTensor(1).tensor.has_value());
}

TEST_F(Link, AServersOfferThatCanNotBeVerifiedMeansBytesBothWays) {
  EXPECT_TRUE(Deliver(client_.Send(Message(MessageKind::kHello)), &server_, MessageKind::kHello).ok());
  SharedMemoryHeader answer = server_.Send(Message(MessageKind::kHello));
  ASSERT_TRUE(answer.offer.has_value());
  answer.offer->bytes += 1;
  EXPECT_TRUE(Deliver(answer, &client_, MessageKind::kHello).ok());
  EXPECT_FALSE(client_.link.HasAnnouncement());
  for (End* end : {&client_, &server_}) EXPECT_FALSE(end->SendTensor(1).tensor.has_value());
}

TEST_F(Link, AReferenceThatWasNotAgreedOnIsABadMessage) {
  SharedMemoryHeader reference;
  reference.tensor = SharedTensorReference{1, kSegmentHeadBytes, 4};
  ExpectBad(Deliver(reference, &server_), "not agreed on");
  Agree();
  ExchangeMessage both = Message(MessageKind::kPush, TensorBytes(std::make_shared<TensorBuffer>(1)));
  ExpectBad(server_.link.OnReceive(reference, &both), "not agreed on");
}

TEST_F(Link, ReferencesOutOfBoundsOrOutOfOrderAreBadMessages) {
  Agree();
  SharedMemoryHeader header = client_.SendTensor(1);
  SharedMemoryHeader beyond = header;
  beyond.tensor->offset = client_.outbox->segment()->offer().bytes;
  ExpectBad(Deliver(beyond, &server_), "of a segment of");
  for (const uint64_t sequence : {uint64_t{0}, uint64_t{2}, ~uint64_t{0}}) {
    SharedMemoryHeader wrong = header;
    wrong.tensor->sequence = sequence;
    ExpectBad(Deliver(wrong, &server_), "follows tensor 0");
  }
  EXPECT_TRUE(Deliver(header, &server_).ok()) << "nothing of that counted";
  ExpectBad(Deliver(header, &server_), "follows tensor 1");
}

TEST_F(Link, ConsumingWhatIsNotUnderWayIsABadMessage) {
  const auto tell = [this](uint64_t first, uint64_t last) {
    SharedMemoryHeader header;
    header.consumed = {{first, last}};
    return Deliver(header, &server_);
  };
  ExpectBad(tell(1, 1), "0 were sent");
  Agree();
  for (int i = 0; i < 3; ++i) server_.SendTensor(1);
  ExpectBad(tell(1, 4), "3 were sent");
  ExpectBad(tell(1, ~uint64_t{0}), "3 were sent");
  ExpectBad(tell(2, 1), "2 to 1");
  ExpectBad(tell(0, 0), "tensor 0 in shared memory, which is not under way");
  EXPECT_EQ(server_.Room(), kTensors - 3) << "nothing of that counted";
  EXPECT_TRUE(tell(2, 2).ok());
  ExpectBad(tell(2, 2), "tensor 2 in shared memory, which is not under way");
  EXPECT_TRUE(tell(1, 1).ok() && tell(3, 3).ok());
  EXPECT_EQ(server_.Room(), kTensors);
}

TEST_F(Link, WhoTakesWhatWasNotOfferedSendsABadMessage) {
  SharedMemoryHeader mapped;
  mapped.mapped = true;
  ExpectBad(Deliver(mapped, &server_, MessageKind::kHello), "not offered");
  ExpectBad(Deliver(mapped, &server_), "not offered");
}

TEST_F(Link, APieceMayBeDroppedAfterTheConnectionIsOver) {
  Agree();
  ExchangeMessage received = Received(client_.SendTensor(5), &server_);
  server_.link.Close();
  client_.link.Close();
  std::vector<float> values(kFloats);
  received.tensor.CopyTo(absl::MakeSpan(values));
  EXPECT_EQ(values[0], 5);
  received.tensor = TensorBytes();
}

// A connection, of which a test makes several between the same two processes.
struct Connection {
  Connection(End* client_before, End* server_before)
      : client(client_before->outbox, client_before->inbound),
        server(server_before->outbox, server_before->inbound) {
    Deliver(&client, &server, MessageKind::kHello);
    Deliver(&server, &client, MessageKind::kHello);
    Deliver(&client, &server);
  }
  // One message without a tensor.
  static void Deliver(End* from, End* to, MessageKind kind = MessageKind::kCredit) {
    ExchangeMessage message = Message(kind);
    const absl::Status received = to->link.OnReceive(from->Send(Message(kind)), &message);
    EXPECT_TRUE(received.ok()) << received;
  }
  // The server asks, and the client answers.
  void Talk() {
    Deliver(&server, &client);
    Deliver(&client, &server);
  }
  TensorBytes SendTensor(float value) {
    ExchangeMessage message = Message(MessageKind::kWeights);
    EXPECT_TRUE(client.link.OnReceive(server.SendTensor(value), &message).ok());
    return message.tensor;
  }
  void Close() {
    client.link.Close();
    server.link.Close();
  }

  End client;
  End server;
};

TEST_F(Link, WhatIsHeldOverAConnectionsEndIsFreeWhenItIsDropped) {
  Connection first(&client_, &server_);
  TensorBytes held = first.SendTensor(5);
  first.SendTensor(6);  // read at once, and not told
  first.Close();
  EXPECT_EQ(server_.Room(), kTensors - 2);
  Connection second(&client_, &server_);
  second.Talk();
  EXPECT_EQ(server_.Room(), kTensors - 2) << "one of them is still read";
  held = TensorBytes();
  EXPECT_EQ(server_.Room(), kTensors - 2) << "nothing has been told";
  second.Talk();
  EXPECT_EQ(server_.Room(), kTensors);
  EXPECT_EQ(server_.outbox->withheld(), 0u);
  EXPECT_EQ(client_.inbound->size(), 1u) << "the second";
}

TEST_F(Link, AThousandReconnectsWithTensorsUnderWayAndHeldCostNoMemory) {
  TensorBytes held;
  for (int i = 0; i < 1000; ++i) {
    Connection connection(&client_, &server_);
    connection.Talk();
    ASSERT_GE(server_.Room(), 2u) << "reconnect " << i;
    TensorBytes next = connection.SendTensor(1);
    connection.server.SendTensor(2);  // never arrives
    connection.Close();
    held = std::move(next);  // over the next connection
  }
  held = TensorBytes();
  Connection last(&client_, &server_);
  last.Talk();
  EXPECT_EQ(server_.Room(), kTensors);
  EXPECT_EQ(client_.inbound->size(), 1u);
}

TEST_F(Link, WhatComesOverALinkThatThePeerHasNotSeenEndIsNotFree) {
  Connection first(&client_, &server_);
  const SharedMemoryHeader late = first.server.SendTensor(5);
  first.server.link.Close();
  Connection second(&client_, &server_);
  second.Talk();
  EXPECT_EQ(server_.Room(), kTensors - 1);
  Received(late, &first.client);  // it comes, and is dropped
  second.Talk();
  EXPECT_EQ(server_.Room(), kTensors - 1) << "more may come";
  first.client.link.Close();
  second.Talk();
  EXPECT_EQ(server_.Room(), kTensors);
}

TEST_F(Link, AnAnswerThatIsLostWithItsLinkIsAskedForAgain) {
  Connection first(&client_, &server_);
  first.SendTensor(5);
  first.Close();
  Connection second(&client_, &server_);
  Connection::Deliver(&second.server, &second.client);
  EXPECT_FALSE(second.client.Send(Message(MessageKind::kCredit)).released_links.empty()) << "and is lost";
  second.Close();
  Connection third(&client_, &server_);
  third.Talk();
  EXPECT_EQ(server_.Room(), kTensors);
}

TEST_F(Link, ALinkThatEndsLaterThanTheNextBeganIsAskedAboutToo) {
  Connection first(&client_, &server_);
  Connection second(&client_, &server_);
  second.Talk();
  first.SendTensor(5);
  first.Close();
  second.Talk();
  EXPECT_EQ(server_.Room(), kTensors);
}

TEST_F(Link, AnotherReaderIsNotAskedAndFreesNothing) {
  Connection first(&client_, &server_);
  const TensorBytes held = first.SendTensor(5);
  first.Close();
  End stranger(MakeOutbox());
  Connection second(&stranger, &server_);
  EXPECT_TRUE(second.server.Send(Message(MessageKind::kCredit)).withheld_links.empty());
  Connection third(&client_, &server_);
  const SharedMemoryHeader question = third.server.Send(Message(MessageKind::kCredit));
  ASSERT_EQ(question.withheld_links.size(), 1u);
  SharedMemoryHeader lie;
  lie.released_links = question.withheld_links;
  ExpectBad(Deliver(lie, &second.server), "not asked about");
  EXPECT_EQ(server_.Room(), kTensors - 1);
}

TEST_F(Link, AskingAboutTooManyLinksIsABadMessage) {
  SharedMemoryHeader question;
  question.withheld_links = {7};
  ExpectBad(Deliver(question, &server_), "not shared");
  Connection connection(&client_, &server_);
  EXPECT_TRUE(Deliver(question, &connection.server).ok());
  EXPECT_EQ(connection.server.Send(Message(MessageKind::kCredit)).released_links, question.withheld_links)
      << "what is not known is not read";
  question.withheld_links.resize(SharedMemoryHeader::kMostLinks + 1);
  std::iota(question.withheld_links.begin(), question.withheld_links.end(), 1);
  ExpectBad(Deliver(question, &connection.server), "too many");
}

TEST_F(Link, APeerFromWhichTooMuchIsWithheldGetsBytesUntilItIsDropped) {
  std::vector<TensorBytes> held;
  const TensorBytes version(server_.Tensor(1));  // one for all
  for (size_t i = 0; i < SharedMemoryHeader::kMostLinks; ++i) {
    Connection connection(&client_, &server_);
    ExchangeMessage message = Message(MessageKind::kWeights);
    const SharedMemoryHeader header = connection.server.Send(Message(MessageKind::kWeights, version));
    ASSERT_TRUE(header.tensor.has_value()) << i;
    ASSERT_TRUE(connection.client.link.OnReceive(header, &message).ok());
    held.push_back(message.tensor);
    connection.Close();
  }
  Connection last(&client_, &server_);
  last.Talk();
  EXPECT_FALSE(last.server.Send(Message(MessageKind::kWeights, version)).tensor.has_value());
  held.pop_back();
  last.Talk();
  EXPECT_TRUE(last.server.Send(Message(MessageKind::kWeights, version)).tensor.has_value());
}

TEST(Outbox, ReleasesALinkForTheReaderThatItWasWithheldFromAlone) {
  const auto outbox = MakeOutbox();
  BufferPool pool(0, outbox->segment());
  Child child;
  const Outbox::Reader reader{*PeerProcess::Open(getpid()), 1};
  const Outbox::Reader same{*PeerProcess::Open(getpid()), 1};
  const Outbox::Reader other_process{*PeerProcess::Open(child.pid()), 1};
  const Outbox::Reader other_reader{reader.process, 2};
  outbox->Withhold(reader, 7, {pool.Take(kFloats)});
  outbox->Withhold(reader, 8, {pool.Take(kFloats)});
  EXPECT_EQ(outbox->LinksWithheldFrom(same), (std::vector<uint64_t>{7, 8}));
  for (const Outbox::Reader& other : {other_process, other_reader}) {
    EXPECT_TRUE(outbox->LinksWithheldFrom(other).empty());
    outbox->Release(other, 7);
  }
  EXPECT_EQ(outbox->withheld(), 2u);
  outbox->Release(same, 7);
  EXPECT_EQ(outbox->LinksWithheldFrom(reader), (std::vector<uint64_t>{8}));
  EXPECT_EQ(outbox->withheld(), 1u);
}

TEST_F(Link, WhatAPeerMayStillReadIsNotUsedAnewAfterTheConnectionIsOver) {
  Agree();
  const ExchangeMessage received = Received(client_.SendTensor(5), &server_);
  client_.link.Close();
  EXPECT_EQ(client_.outbox->withheld(), 1u);
  EXPECT_EQ(client_.Room(), kTensors - 1);
}

TEST(Outbox, ReleasesWhatIsWithheldOnceThePeerHasDied) {
  const auto outbox = MakeOutbox();
  BufferPool pool(0, outbox->segment());
  Child peer;
  outbox->Withhold({*PeerProcess::Open(peer.pid()), 1}, 1, {pool.Take(kFloats), pool.Take(kFloats)});
  outbox->Withhold({*PeerProcess::Open(getpid()), 2}, 2, {pool.Take(kFloats)});
  outbox->ReleaseDead();
  EXPECT_EQ(outbox->withheld(), 3u);
  peer.Kill();
  outbox->ReleaseDead();
  EXPECT_EQ(outbox->withheld(), 1u) << "of those who live";
  EXPECT_NE(outbox->segment()->Allocate(2 * kFloats), nullptr);
}

}  // namespace
}  // namespace tessera

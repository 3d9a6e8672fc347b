#include "common/fault/link_faults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "common/tensor_buffer.h"

namespace tessera {
namespace {

// Records what reaches the transport.
class RecordingSender : public ExchangeSender {
 public:
  void Send(ExchangeMessage message, int) override {
    sent.push_back(message.clock);
    kinds.push_back(message.kind);
  }
  void Flush() override { ++flushes; }
  void Grant(int64_t bytes) override { granted += bytes; }
  void Close(absl::Status reason) override { closed.push_back(std::move(reason)); }

  std::vector<Clock> sent;
  std::vector<MessageKind> kinds;
  std::vector<absl::Status> closed;
  int flushes = 0;
  int64_t granted = 0;
};

ExchangeMessage Message(Clock clock, MessageKind kind = MessageKind::kPush) {
  ExchangeMessage message;
  message.kind = kind;
  message.clock = clock;
  return message;
}

// The clocks of 1000 messages that pass, over connection after connection.
std::vector<std::vector<Clock>> Passed(const FaultOptions& options, int connections) {
  const std::shared_ptr<LinkFaults> faults = LinkFaults::Create(options);
  std::vector<std::vector<Clock>> passed;
  for (int i = 0; i < connections; ++i) {
    const auto transport = std::make_shared<RecordingSender>();
    const std::shared_ptr<ExchangeSender> sender = faults->Wrap(transport);
    for (Clock clock = 0; clock < 1000; ++clock) sender->Send(Message(clock));
    passed.push_back(transport->sent);
  }
  return passed;
}

TEST(LinkFaults, NoneIsAskedForAndNothingIsInTheWay) {
  EXPECT_EQ(LinkFaults::Create({}), nullptr);
  EXPECT_EQ(LinkFaults::Create({.seed = 7}), nullptr);
  const auto transport = std::make_shared<RecordingSender>();
  EXPECT_EQ(WithFaults(nullptr, transport), transport);
}

TEST(LinkFaults, LosesThePartOfTheMessagesThatWasAskedFor) {
  const std::vector<Clock> passed = Passed({.loss = 0.2, .seed = 1}, 1).front();
  EXPECT_GT(passed.size(), 700u);
  EXPECT_LT(passed.size(), 900u);
}

TEST(LinkFaults, WhatIsLostFollowsFromSeedConnectionAndMessage) {
  const FaultOptions options{.loss = 0.2, .seed = 1};
  const std::vector<std::vector<Clock>> passed = Passed(options, 2);
  EXPECT_EQ(passed, Passed(options, 2));
  EXPECT_NE(passed[0], passed[1]) << "each connection has its own";
  EXPECT_NE(passed[0], Passed({.loss = 0.2, .seed = 2}, 1)[0]);
}

TEST(LinkFaults, LosesOnlyWhatIsAskedForAgain) {
  const std::shared_ptr<LinkFaults> faults = LinkFaults::Create({.loss = 0.999999});
  const auto transport = std::make_shared<RecordingSender>();
  const std::shared_ptr<ExchangeSender> sender = faults->Wrap(transport);
  for (const MessageKind kind :
       {MessageKind::kHello, MessageKind::kPush, MessageKind::kRead, MessageKind::kWeights, MessageKind::kAck,
        MessageKind::kError, MessageKind::kCredit, MessageKind::kDropped, MessageKind::kPending,
        MessageKind::kUnknown}) {
    sender->Send(Message(0, kind));
  }
  EXPECT_EQ(transport->kinds,
            (std::vector<MessageKind>{MessageKind::kHello, MessageKind::kError, MessageKind::kCredit}));
  sender->Grant(5);
  EXPECT_EQ(transport->granted, 5);
}

TEST(LinkFaults, WhatWaitedForALostMessageLeavesAllTheSame) {
  const std::shared_ptr<LinkFaults> faults = LinkFaults::Create({.loss = 0.999999});
  const auto transport = std::make_shared<RecordingSender>();
  const std::shared_ptr<ExchangeSender> sender = faults->Wrap(transport);
  ExchangeMessage waits = Message(0);
  waits.may_wait = true;
  sender->Send(waits);
  EXPECT_EQ(transport->flushes, 0);
  sender->Send(Message(1));
  EXPECT_EQ(transport->flushes, 1);
}

TEST(LinkFaults, ALostTensorIsDroppedAtOnce) {
  const std::shared_ptr<LinkFaults> faults = LinkFaults::Create({.loss = 0.999999});
  const std::shared_ptr<ExchangeSender> sender = faults->Wrap(std::make_shared<RecordingSender>());
  const auto tensor = std::make_shared<TensorBuffer>(8);
  ExchangeMessage push = Message(0);
  push.tensor = TensorBytes(tensor);
  sender->Send(std::move(push));
  EXPECT_EQ(tensor.use_count(), 1);
}

TEST(LinkFaults, CutsTheConnectionInPlaceOfAMessage) {
  const std::shared_ptr<LinkFaults> faults = LinkFaults::Create({.cut = 0.01, .seed = 3});
  const auto transport = std::make_shared<RecordingSender>();
  const std::shared_ptr<ExchangeSender> sender = faults->Wrap(transport);
  Clock clock = 0;
  while (transport->closed.empty() && clock < 10'000) sender->Send(Message(clock++));
  ASSERT_EQ(transport->closed.size(), 1u);
  EXPECT_TRUE(absl::IsUnavailable(transport->closed[0])) << transport->closed[0];
  EXPECT_EQ(transport->sent.size(), static_cast<size_t>(clock) - 1);
}

TEST(LinkFaults, LosesCallsAndCountsAll) {
  const std::shared_ptr<LinkFaults> faults = LinkFaults::Create({.loss = 0.5, .seed = 4});
  const std::shared_ptr<ExchangeSender> sender = faults->Wrap(std::make_shared<RecordingSender>());
  for (int i = 0; i < 10; ++i) sender->Send(Message(i));
  int lost = 0;
  for (int i = 0; i < 1000; ++i) lost += faults->LosesCall() ? 1 : 0;
  EXPECT_GT(lost, 400);
  EXPECT_LT(lost, 600);
  EXPECT_THAT(faults->Summary(), ::testing::HasSubstr("of 10 messages lost, 0 of 1 connections cut"));
  EXPECT_THAT(faults->Summary(), ::testing::HasSubstr(absl::StrCat(lost, " of 1000 calls lost")));
}

}  // namespace
}  // namespace tessera

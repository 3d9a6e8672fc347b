#include "common/send_queue.h"

#include <gtest/gtest.h>

#include <memory>

namespace tessera {
namespace {

ExchangeMessage Tensor(ShardId shard, size_t floats) {
  ExchangeMessage message;
  message.kind = MessageKind::kPush;
  message.shard = shard;
  message.tensor = TensorBytes(std::make_shared<TensorBuffer>(floats));
  return message;
}

ExchangeMessage Small(ShardId shard) {
  ExchangeMessage message;
  message.kind = MessageKind::kRead;
  message.shard = shard;
  return message;
}

ShardId NextShard(SendQueue* queue) {
  const std::optional<ExchangeMessage> message = queue->Next();
  return message.has_value() ? message->shard : -1;
}

TEST(SendQueue, TensorsWaitForCreditAndSmallMessagesDoNot) {
  SendQueue queue;
  ASSERT_TRUE(queue.Add(Tensor(1, 100), 0).ok());
  ASSERT_TRUE(queue.Add(Small(2), 0).ok());
  EXPECT_EQ(NextShard(&queue), 2);
  EXPECT_FALSE(queue.HasNext());
  EXPECT_EQ(NextShard(&queue), -1);
  queue.AddCredit(1);
  EXPECT_EQ(NextShard(&queue), 1);
}

TEST(SendQueue, LowerPriorityValueGoesFirstAndEqualOnesInOrderOfArrival) {
  SendQueue queue;
  queue.AddCredit(1 << 20);
  for (auto [shard, priority] : {std::pair{1, 7}, {2, 3}, {3, 7}, {4, 3}}) {
    ASSERT_TRUE(queue.Add(Tensor(shard, 10), priority).ok());
  }
  EXPECT_EQ(NextShard(&queue), 2);
  EXPECT_EQ(NextShard(&queue), 4);
  EXPECT_EQ(NextShard(&queue), 1);
  EXPECT_EQ(NextShard(&queue), 3);
}

TEST(SendQueue, AMessageLargerThanTheWholeCreditIsLateButNeverStuck) {
  SendQueue queue;
  queue.AddCredit(40);
  ASSERT_TRUE(queue.Add(Tensor(1, 1000), 0).ok());
  ASSERT_TRUE(queue.Add(Tensor(2, 1), 0).ok());
  EXPECT_EQ(NextShard(&queue), 1);
  EXPECT_EQ(NextShard(&queue), -1) << "4000 bytes went on a credit of 40";
  queue.AddCredit(3960);
  EXPECT_EQ(NextShard(&queue), -1) << "the credit is exactly zero";
  queue.AddCredit(1);
  EXPECT_EQ(NextShard(&queue), 2);
}

TEST(SendQueue, WhatAPeerGrantsIsCapped) {
  SendQueue queue;
  for (int i = 0; i < 3; ++i) queue.AddCredit(INT64_MAX);
  ASSERT_TRUE(queue.Add(Tensor(1, 10), 0).ok());
  EXPECT_EQ(NextShard(&queue), 1);
}

TEST(SendQueue, GrantsAreToldInThirdsOfTheWindow) {
  SendQueue queue;
  queue.set_window(300);
  EXPECT_EQ(queue.CollectGrant(60), 0);
  EXPECT_EQ(queue.CollectGrant(60), 120);
  EXPECT_EQ(queue.CollectGrant(99), 0);
  EXPECT_EQ(queue.TakeCollected(), 99);
  EXPECT_EQ(queue.TakeCollected(), 0);
}

TEST(SendQueue, HasALimit) {
  SendQueue queue;
  for (size_t i = 0; i < SendQueue::kMaxQueued; ++i) ASSERT_TRUE(queue.Add(Small(0), 0).ok());
  EXPECT_EQ(queue.Add(Small(0), 0).code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace tessera

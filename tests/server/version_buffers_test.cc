#include "server/version_buffers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "tests/server/counting_memory.h"
#include "tests/server/test_shards.h"

namespace tessera {
namespace {

constexpr int64_t kShardBytes = 64;  // 16 floats
constexpr int64_t kLength = 40;      // of `fc`: shards 0, 1 and 2, the last of 8 floats; shard 3 is `bn`'s
constexpr int64_t kFrameFloats = 48;

class AdjoiningVersions : public ::testing::Test {
 protected:
  std::vector<VersionBuffers> Buffers(std::vector<ShardId> held) {
    return VersionBuffers::Adjoining(layout_, held, std::make_shared<BufferPool>(0, memory_));
  }

  const ShardLayout layout_ = TestLayout(kLength, kShardBytes);
  const std::shared_ptr<CountingMemory> memory_ = std::make_shared<CountingMemory>();
};

bool Adjoin(const TensorBuffer& left, const TensorBuffer& right) {
  return left.data() + left.size() == right.data();
}

TEST_F(AdjoiningVersions, AVersionOfNeighboursIsOnePieceInTheOrderOfTheBlock) {
  const std::vector<VersionBuffers> shards = Buffers({0, 1, 2, 3});
  for (const Version version : {0, 1, 2}) {
    // Whoever comes first: rounds of shards complete in any order.
    const auto last = shards[2].Take(version);
    const auto first = shards[0].Take(version);
    const auto middle = shards[1].Take(version);
    EXPECT_EQ(last->size(), 8U);
    EXPECT_TRUE(Adjoin(*first, *middle) && Adjoin(*middle, *last)) << "version " << version;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first->data()) % 64, 0U);
    EXPECT_FALSE(Adjoin(*last, *shards[3].Take(version))) << "another block";
  }
}

TEST_F(AdjoiningVersions, TheOrderInWhichShardsAreNamedDoesNotMatter) {
  const std::vector<VersionBuffers> shards = Buffers({3, 1, 0});
  EXPECT_EQ(shards[0].Take(0)->size(), 8U);
  EXPECT_TRUE(Adjoin(*shards[2].Take(0), *shards[1].Take(0)));
}

TEST_F(AdjoiningVersions, AShardThatIsHeldElsewhereParts) {
  const std::vector<VersionBuffers> shards = Buffers({0, 2});
  const auto left = shards[0].Take(0);
  const auto right = shards[1].Take(0);
  EXPECT_NE(left->data() + kShardBytes / sizeof(float) * 2, right->data()) << "no room is kept for it";
}

TEST_F(AdjoiningVersions, TwoVersionsAreHeldAtOnceAndTheNextTakesThePlaceOfTheOlder) {
  const std::vector<VersionBuffers> shards = Buffers({0, 1, 2});
  auto before = shards[0].Take(4);
  const auto present = shards[0].Take(5);
  EXPECT_NE(before->data(), present->data());
  const float* const place = before->data();
  before.reset();
  EXPECT_EQ(shards[0].Take(6)->data(), place);
}

TEST_F(AdjoiningVersions, AVersionThatIsStillReadIsNeverOverwritten) {
  const std::vector<VersionBuffers> shards = Buffers({0, 1});
  const SharedTensor read = shards[0].Take(0);
  const size_t frames = memory_->bytes;
  auto next = shards[0].Take(2);
  EXPECT_NE(next->data(), read->data());
  EXPECT_GT(memory_->bytes, frames) << "it has a buffer of its own";
  EXPECT_TRUE(Adjoin(*read, *shards[1].Take(2))) << "only this shard's place is taken";
  next.reset();
  EXPECT_EQ(memory_->bytes, frames);
}

TEST_F(AdjoiningVersions, NeighboursMayBeAVersionApart) {
  const std::vector<VersionBuffers> shards = Buffers({0, 1});
  auto behind = shards[0].Take(1);
  std::fill(behind->span().begin(), behind->span().end(), 1.0F);
  auto ahead = shards[1].Take(1);
  ahead = nullptr;
  for (const Version version : {2, 3}) {
    ahead = shards[1].Take(version);
    std::fill(ahead->span().begin(), ahead->span().end(), 9.0F);
  }
  EXPECT_EQ(Values(*behind), Floats(16, 1));
}

TEST_F(AdjoiningVersions, TakeNoMoreMemoryThanTheySay) {
  const std::vector<ShardId> held = {0, 1, 2, 3};
  const std::vector<VersionBuffers> shards = Buffers(held);
  const size_t frames = memory_->bytes;
  EXPECT_EQ(frames, 2 * layout_.total_bytes());
  EXPECT_LE(frames, VersionBuffers::FrameBytes(layout_, held));
  EXPECT_LE(VersionBuffers::FrameBytes(layout_, held), frames + 2 * held.size() * 64);
  std::vector<SharedTensor> present(held.size());
  std::vector<SharedTensor> previous(held.size());
  for (Version version = 0; version < 10; ++version) {
    for (size_t shard = 0; shard < held.size(); ++shard) {
      previous[shard] = std::move(present[shard]);
      present[shard] = shards[shard].Take(version);
      EXPECT_EQ(memory_->bytes, frames);
    }
  }
}

TEST_F(AdjoiningVersions, OutliveTheirBuffers) {
  std::optional<std::vector<VersionBuffers>> shards(Buffers({0, 1}));
  SharedTensor read = (*shards)[0].Take(0);
  shards.reset();
  EXPECT_GT(memory_->bytes, 0U);
  EXPECT_EQ(Values(*read).size(), 16U);
  read.reset();
  EXPECT_EQ(memory_->bytes, 0U);
}

TEST_F(AdjoiningVersions, AreDroppedByOtherThreadsWhileShardsGoOn) {
  const std::vector<VersionBuffers> shards = Buffers({0, 1, 2});
  std::atomic<int> torn{0};
  const auto work = [&](size_t shard) {
    std::vector<std::thread> readers;
    for (Version version = 0; version < 60; ++version) {
      const auto next = shards[shard].Take(version);
      std::fill(next->span().begin(), next->span().end(), static_cast<float>(version));
      readers.emplace_back([&torn, version, read = SharedTensor(next)] {
        const auto same = [version](float value) { return value == static_cast<float>(version); };
        if (!std::all_of(read->span().begin(), read->span().end(), same)) ++torn;
      });
    }
    for (std::thread& reader : readers) reader.join();
  };
  std::vector<std::thread> owners;
  for (size_t shard = 0; shard < shards.size(); ++shard) owners.emplace_back(work, shard);
  for (std::thread& owner : owners) owner.join();
  EXPECT_EQ(torn, 0);
}

TEST(VersionBuffers, WithoutFramesEachVersionHasABufferOfItsOwn) {
  const auto memory = std::make_shared<CountingMemory>();
  const VersionBuffers shard(kFrameFloats, std::make_shared<BufferPool>(0, memory));
  EXPECT_EQ(memory->bytes, 0U) << "nothing is laid out ahead";
  auto first = shard.Take(0);
  const auto third = shard.Take(2);
  EXPECT_EQ(memory->bytes, 2 * kFrameFloats * sizeof(float));
  first.reset();
  EXPECT_EQ(memory->bytes, kFrameFloats * sizeof(float));
}

}  // namespace
}  // namespace tessera

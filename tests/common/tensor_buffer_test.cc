#include "common/tensor_buffer.h"

#include <cstdint>
#include <optional>
#include <thread>

#include "gtest/gtest.h"

namespace tessera {
namespace {

TEST(TensorBuffer, IsAlignedToCacheLines) {
  for (const size_t length : {size_t{0}, size_t{1}, size_t{17}, size_t{100'000}}) {
    const TensorBuffer buffer(length);
    EXPECT_EQ(buffer.size(), length);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0U);
  }
}

TEST(BufferPool, GivesAReturnedBufferAgain) {
  BufferPool pool(1 << 20);
  std::shared_ptr<TensorBuffer> buffer = pool.Take(100);
  const float* const address = buffer->data();
  EXPECT_EQ(pool.idle_bytes(), 0U);
  buffer.reset();
  EXPECT_EQ(pool.idle_bytes(), 400U);
  buffer = pool.Take(100);
  EXPECT_EQ(buffer->data(), address);
  EXPECT_EQ(pool.idle_bytes(), 0U);
}

TEST(BufferPool, KeepsLengthsApart) {
  BufferPool pool(1 << 20);
  pool.Take(100).reset();
  EXPECT_EQ(pool.Take(99)->size(), 99U);
  EXPECT_EQ(pool.idle_bytes(), 400U + 396U);
}

TEST(BufferPool, WaitsForTheLastReference) {
  BufferPool pool(1 << 20);
  std::shared_ptr<TensorBuffer> writer = pool.Take(10);
  SharedTensor reader = writer;
  writer.reset();
  EXPECT_EQ(pool.idle_bytes(), 0U);
  reader.reset();
  EXPECT_EQ(pool.idle_bytes(), 40U);
}

TEST(BufferPool, FreesWhatIsAboveItsLimit) {
  BufferPool pool(100);
  std::shared_ptr<TensorBuffer> first = pool.Take(20);
  std::shared_ptr<TensorBuffer> second = pool.Take(20);
  first.reset();
  EXPECT_EQ(pool.idle_bytes(), 80U);
  second.reset();
  EXPECT_EQ(pool.idle_bytes(), 80U);
}

TEST(BufferPool, BuffersOutliveThePool) {
  std::optional<BufferPool> pool(std::in_place, 1 << 20);
  const std::shared_ptr<TensorBuffer> buffer = pool->Take(4);
  pool.reset();
  buffer->span()[3] = 1.5F;
  EXPECT_EQ(buffer->data()[3], 1.5F);
}

TEST(BufferPool, ServesManyThreads) {
  BufferPool pool(1 << 20);
  const auto work = [&pool](float mark) {
    for (int i = 0; i < 2000; ++i) {
      const std::shared_ptr<TensorBuffer> buffer = pool.Take(64);
      for (float& value : buffer->span()) value = mark;
      for (const float value : buffer->span()) ASSERT_EQ(value, mark);
    }
  };
  std::thread other(work, 1.0F);
  work(2.0F);
  other.join();
  EXPECT_LE(pool.idle_bytes(), 2U * 64U * sizeof(float));
}

}  // namespace
}  // namespace tessera

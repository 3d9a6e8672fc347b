#include "common/shared_memory/segment.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <limits>
#include <vector>

#include "common/shared_memory/available_memory.h"

namespace tessera {
namespace {

constexpr size_t kFloats = 1024;  // of a page

std::shared_ptr<SharedSegment> Segment(size_t bytes) {
  absl::StatusOr<std::shared_ptr<SharedSegment>> segment = SharedSegment::Create(bytes);
  EXPECT_TRUE(segment.ok()) << segment.status();
  return *segment;
}

absl::Span<const uint8_t> BytesOf(const float* floats, size_t length) {
  return {reinterpret_cast<const uint8_t*>(floats), length * sizeof(float)};
}

TEST(SharedSegment, HasAllItsPagesFromTheStart) {
  const auto segment = Segment(size_t{1} << 20);
  struct stat status;
  ASSERT_EQ(fstat(segment->offer().fd, &status), 0);
  EXPECT_EQ(static_cast<uint64_t>(status.st_size), segment->offer().bytes);
  EXPECT_GE(static_cast<uint64_t>(status.st_blocks) * 512, segment->offer().bytes);
}

TEST(SharedSegment, NobodyElseCanWriteShrinkGrowOrPunchHoles) {
  const auto segment = Segment(kSegmentHeadBytes);
  const int fd = segment->offer().fd;
  const size_t bytes = segment->offer().bytes;
  EXPECT_EQ(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  EXPECT_EQ(pwrite(fd, "x", 1, 0), -1);
  EXPECT_EQ(ftruncate(fd, 0), -1);
  EXPECT_EQ(ftruncate(fd, static_cast<off_t>(2 * bytes)), -1);
  EXPECT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)), -1);
  EXPECT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1) << "nor change the seals";
}

TEST(SharedSegment, GivesAlignedMemoryUntilItIsUsedUpAndTakesItBack) {
  const auto segment = Segment(4 * kFloats * sizeof(float));
  std::vector<float*> given;
  while (float* const floats = segment->Allocate(kFloats)) given.push_back(floats);
  ASSERT_EQ(given.size(), 4u);
  EXPECT_EQ(segment->refused(), 1);
  for (float* floats : given) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(floats) % 64, 0u);
    std::fill_n(floats, kFloats, 1.0f);
  }
  segment->Free(given[1], kFloats);
  EXPECT_EQ(segment->Allocate(kFloats), given[1]);
}

TEST(SharedSegment, NeighboursThatAreFreeBecomeOneRange) {
  for (const std::vector<int>& order :
       {std::vector<int>{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {0, 2, 1, 3}}) {
    const auto segment = Segment(4 * kFloats * sizeof(float));
    std::vector<float*> given;
    for (int i = 0; i < 4; ++i) given.push_back(segment->Allocate(kFloats));
    EXPECT_EQ(segment->Allocate(1), nullptr);
    for (const int i : order) segment->Free(given[i], kFloats);
    EXPECT_EQ(segment->Allocate(4 * kFloats), given[0]);
  }
}

TEST(SharedSegment, RefusesWhatNoSegmentCanHold) {
  const auto segment = Segment(kSegmentHeadBytes);
  EXPECT_EQ(segment->Allocate(0), nullptr);
  EXPECT_EQ(segment->Allocate(kFloats + 1), nullptr);
  EXPECT_EQ(segment->Allocate(std::numeric_limits<size_t>::max()), nullptr);
}

TEST(SharedSegment, MoreThanHalfOfWhatIsLeftIsNotTaken) {
  // Else the kernel would end processes, this one or others. A figure between half and all of it would race.
  ASSERT_GT(AvailableMemory(), 0u);
  EXPECT_EQ(SharedSegment::Create(std::numeric_limits<size_t>::max()).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(SharedSegment, KnowsWhichBytesAreItsTensors) {
  const auto segment = Segment(2 * kFloats * sizeof(float));
  float* const floats = segment->Allocate(2 * kFloats);
  EXPECT_EQ(segment->OffsetOf(BytesOf(floats, 2 * kFloats)), kSegmentHeadBytes);
  EXPECT_EQ(segment->OffsetOf(BytesOf(floats + 5, 1)), kSegmentHeadBytes + 5 * sizeof(float));
  EXPECT_EQ(segment->OffsetOf(BytesOf(floats, 2 * kFloats + 1)), std::nullopt) << "beyond the end";
  EXPECT_EQ(segment->OffsetOf(BytesOf(floats - 1, 2)), std::nullopt) << "the head";
  const std::vector<float> heap(10);
  EXPECT_EQ(segment->OffsetOf(BytesOf(heap.data(), 10)), std::nullopt);
}

TEST(SharedSegment, APoolTakesFromItFirstAndThenFromTheHeap) {
  const auto segment = Segment(2 * kFloats * sizeof(float));
  BufferPool pool(1 << 20, segment);
  const auto is_shared = [&](const TensorBuffer& buffer) {
    return segment->OffsetOf(BytesOf(buffer.data(), buffer.size())).has_value();
  };
  auto first = pool.Take(kFloats);
  const auto second = pool.Take(kFloats);
  const auto third = pool.Take(kFloats);
  EXPECT_TRUE(is_shared(*first) && is_shared(*second));
  EXPECT_FALSE(is_shared(*third));
  EXPECT_EQ(segment->refused(), 1);
  first.reset();
  EXPECT_EQ(pool.idle_bytes(), 0u) << "the segment has it back, and not the heap's list";
  EXPECT_TRUE(is_shared(*pool.Take(kFloats)));
}

TEST(SharedSegment, OutlivesItsPoolAndItsOwnerWhileABufferIsHeld) {
  auto segment = Segment(kFloats * sizeof(float));
  auto pool = std::make_unique<BufferPool>(0, segment);
  const auto buffer = pool->Take(kFloats);
  pool.reset();
  segment.reset();
  std::fill_n(buffer->data(), kFloats, 2.0f);
  EXPECT_EQ(buffer->data()[kFloats - 1], 2.0f);
}

}  // namespace
}  // namespace tessera

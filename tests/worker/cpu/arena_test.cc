#include "worker/cpu/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common/random.h"
#include "worker/cpu/layout.h"

namespace tessera::cpu {
namespace {

const dnnl::engine& Engine() {
  static const auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

dnnl::memory BindFloats(Arena& arena, int buffer, int64_t length) {
  dnnl::memory memory(RowMajor({length}), Engine(), DNNL_MEMORY_NONE);
  arena.Bind(buffer, memory);
  return memory;
}

TEST(Arena, BuffersThatDoNotMeetShareMemory) {
  Arena arena;
  const int first = arena.Add(1024, 0), second = arena.Add(1024, 2);
  arena.Use(first, 1);
  const dnnl::memory a = BindFloats(arena, first, 256), b = BindFloats(arena, second, 256);
  arena.Allocate();
  EXPECT_EQ(a.get_data_handle(), b.get_data_handle());
  EXPECT_EQ(arena.bytes(), 1024u);
}

TEST(Arena, ABufferLivesToItsLastUseAndFromItsFirst) {
  Arena arena;
  const int first = arena.Add(1024, 0), second = arena.Add(1024, 2);
  arena.Use(first, 2);
  const dnnl::memory a = BindFloats(arena, first, 256), b = BindFloats(arena, second, 256);
  arena.Allocate();
  EXPECT_NE(a.get_data_handle(), b.get_data_handle());
  EXPECT_EQ(arena.bytes(), 2048u);
}

TEST(Arena, SmallBuffersFillTheGaps) {
  Arena arena;
  arena.Add(4096, 0);
  const int late = arena.Add(2048, 1);
  arena.Add(2048, 1);
  arena.Use(late, 2);
  arena.Allocate();
  EXPECT_EQ(arena.bytes(), 4096u);
}

TEST(Arena, NoTwoBuffersThatLiveAtTheSameTimeOverlap) {
  struct Placed {
    Time first, last;
    int64_t length;
    dnnl::memory memory;
  };
  const RandomStream random(1, RandomPurpose::kSampleOrder);
  Arena arena;
  std::vector<Placed> placed;
  for (uint64_t i = 0; i < 200; ++i) {
    const Time first = static_cast<Time>(random.Uniform(3 * i) * 40);
    const Time last = first + static_cast<Time>(random.Uniform(3 * i + 1) * 10);
    const int64_t length = 1 + static_cast<int64_t>(random.Uniform(3 * i + 2) * 500);
    const int buffer = arena.Add(static_cast<size_t>(length) * sizeof(float), first);
    arena.Use(buffer, last);
    placed.push_back({first, last, length, BindFloats(arena, buffer, length)});
  }
  arena.Allocate();
  for (const Placed& a : placed) {
    const auto* begin = static_cast<const float*>(a.memory.get_data_handle());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(begin) % Arena::kAlignment, 0u);
    for (const Placed& b : placed) {
      if (&a == &b || a.last < b.first || b.last < a.first) continue;
      const auto* other = static_cast<const float*>(b.memory.get_data_handle());
      EXPECT_TRUE(begin + a.length <= other || other + b.length <= begin);
    }
  }
}

TEST(Arena, StartsAsNotANumber) {
  Arena arena;
  const dnnl::memory memory = BindFloats(arena, arena.Add(400, 0), 100);
  arena.Allocate();
  const auto* data = static_cast<const float*>(memory.get_data_handle());
  EXPECT_TRUE(std::all_of(data, data + 100, [](float value) { return std::isnan(value); }));
}

TEST(Arena, MayBeEmpty) {
  Arena arena;
  arena.Allocate();
  EXPECT_GT(arena.bytes(), 0u);
}

}  // namespace
}  // namespace tessera::cpu

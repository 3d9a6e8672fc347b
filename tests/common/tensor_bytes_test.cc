#include "common/tensor_bytes.h"

#include <cstring>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;

SharedTensor Counting(size_t length) {
  auto tensor = std::make_shared<TensorBuffer>(length);
  std::iota(tensor->span().begin(), tensor->span().end(), 1.0F);
  return tensor;
}

// The bytes of `tensor` cut into pieces that end at `cuts`, each at an address of its own that is 1 modulo 4.
TensorBytes Cut(const SharedTensor& tensor, std::vector<size_t> cuts) {
  TensorBytes bytes;
  cuts.push_back(tensor->size() * sizeof(float));
  size_t begin = 0;
  for (const size_t end : cuts) {
    auto storage = std::make_shared<std::vector<uint8_t>>(end - begin + 1);
    uint8_t* const copy = storage->data() + 1;
    std::memcpy(copy, reinterpret_cast<const uint8_t*>(tensor->data()) + begin, end - begin);
    bytes.Append({storage, {copy, end - begin}});
    begin = end;
  }
  return bytes;
}

TEST(TensorBytes, RefersToATensorWithoutACopy) {
  const SharedTensor tensor = Counting(5);
  const TensorBytes bytes(tensor);
  ASSERT_EQ(bytes.pieces().size(), 1U);
  EXPECT_EQ(bytes.pieces()[0].bytes.data(), reinterpret_cast<const uint8_t*>(tensor->data()));
  EXPECT_EQ(bytes.size_bytes(), 20U);
}

TEST(TensorBytes, KeepsItsTensorAlive) {
  SharedTensor tensor = Counting(5);
  const std::weak_ptr<const TensorBuffer> watch = tensor;
  {
    const TensorBytes bytes(std::move(tensor), 1, 3);
    EXPECT_FALSE(watch.expired());
    std::vector<float> out(3);
    bytes.CopyTo(absl::MakeSpan(out));
    EXPECT_THAT(out, ElementsAre(2, 3, 4));
  }
  EXPECT_TRUE(watch.expired());
}

TEST(TensorBytes, EmptyHasNothingToAdd) {
  TensorBytes bytes;
  bytes.Append({nullptr, {}});
  EXPECT_EQ(bytes.size_bytes(), 0U);
  EXPECT_TRUE(bytes.pieces().empty());
  bytes.CopyTo({});
  bytes.AddTo({});
}

TEST(TensorBytes, AddsToWhatIsThere) {
  std::vector<float> out = {10, 20, 30};
  TensorBytes(Counting(3)).AddTo(absl::MakeSpan(out));
  EXPECT_THAT(out, ElementsAre(11, 22, 33));
}

TEST(TensorBytes, FloatMayBeSplitOverOneBytePieces) {
  const TensorBytes bytes = Cut(Counting(3), {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  std::vector<float> out(3, 0.5F);
  bytes.AddTo(absl::MakeSpan(out));
  EXPECT_THAT(out, ElementsAre(1.5F, 2.5F, 3.5F));
}

// Every pair of cuts through nine floats, whatever the alignment.
TEST(TensorBytes, CutsAnywhereGiveTheSameSums) {
  const SharedTensor tensor = Counting(9);
  for (size_t first = 0; first <= 36; ++first) {
    for (size_t second = first; second <= 36; ++second) {
      const TensorBytes bytes = Cut(tensor, {first, second});
      std::vector<float> copy(9);
      std::vector<float> sum(9, 100.0F);
      bytes.CopyTo(absl::MakeSpan(copy));
      bytes.AddTo(absl::MakeSpan(sum));
      for (size_t i = 0; i < 9; ++i) {
        ASSERT_EQ(copy[i], static_cast<float>(i + 1)) << first << ", " << second;
        ASSERT_EQ(sum[i], static_cast<float>(i + 101)) << first << ", " << second;
      }
    }
  }
}

TEST(TensorBytes, ReaderGivesTheFloatsInOrderWhateverThePiecesAndTheLengths) {
  const SharedTensor tensor = Counting(9);
  for (size_t cut = 0; cut <= 36; ++cut) {
    const TensorBytes bytes = Cut(tensor, {cut});
    for (size_t length = 1; length <= 9; ++length) {
      TensorBytes::Reader reader(bytes);
      std::vector<float> out(9);
      for (size_t done = 0; done < 9; done += length) {
        reader.CopyNext(absl::MakeSpan(out).subspan(done, std::min<size_t>(length, 9 - done)));
      }
      ASSERT_THAT(out, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9)) << cut << ", " << length;
    }
  }
}

TEST(TensorBytesDeathTest, ReadingPastTheEndIsABrokenInvariant) {
  const TensorBytes bytes(Counting(3));
  std::vector<float> out(4);
  EXPECT_DEATH(TensorBytes::Reader(bytes).CopyNext(absl::MakeSpan(out)), "broken invariant");
}

TEST(TensorBytesDeathTest, OutputOfAnotherLengthIsABrokenInvariant) {
  std::vector<float> out(2);
  EXPECT_DEATH(TensorBytes(Counting(3)).AddTo(absl::MakeSpan(out)), "broken invariant");
  EXPECT_DEATH(TensorBytes(Counting(3)).CopyTo(absl::MakeSpan(out)), "broken invariant");
  EXPECT_DEATH(TensorBytes(Counting(3), 2, 2), "broken invariant");
}

}  // namespace
}  // namespace tessera

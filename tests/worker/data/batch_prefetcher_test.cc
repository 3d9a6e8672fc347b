#include "worker/data/batch_prefetcher.h"

#include <memory>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "tests/worker/data/fake_dataset.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

constexpr uint32_t kSamples = 60;
constexpr int32_t kReplicas = 2;
constexpr int32_t kBatch = 3;
constexpr Clock kStepsPerEpoch = kSamples / (kReplicas * kBatch);

// Counts how often each sample is gathered, and can hold the gathering thread.
class WatchedDataset : public FakeDataset {
 public:
  WatchedDataset() : FakeDataset({1, 2, 2}, Pixels()) {}

  int32_t Label(uint32_t index) const override {
    MutexLock lock(&mutex_);
    while (held_) changed_.WaitWithTimeout(&mutex_, absl::Seconds(60));
    ++gathered_;
    changed_.NotifyAll();
    return FakeDataset::Label(index);
  }

  void Hold(bool held) {
    MutexLock lock(&mutex_);
    held_ = held;
    changed_.NotifyAll();
  }
  // Waits until so many minibatches have been gathered, in all.
  bool WaitFor(int minibatches) const {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    MutexLock lock(&mutex_);
    while (gathered_ < minibatches * kBatch && absl::Now() < deadline)
      changed_.WaitWithTimeout(&mutex_, absl::Seconds(1));
    return gathered_ == minibatches * kBatch;
  }
  int minibatches() const {
    MutexLock lock(&mutex_);
    return gathered_ / kBatch;
  }

 private:
  static std::vector<uint8_t> Pixels() {
    std::vector<uint8_t> pixels(kSamples * 4);
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * 7 % 251);
    return pixels;
  }

  mutable Mutex mutex_;
  mutable CondVar changed_;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  mutable int gathered_ ABSL_GUARDED_BY(mutex_) = 0;
};

class BatchPrefetcherTest : public testing::Test {
 protected:
  BatchPrefetcherTest() : prefetcher_(MakeSampler(), MakeLoader()) {}

  static Sampler MakeSampler() { return *Sampler::Create(5, kSamples, kReplicas, kBatch); }
  BatchLoader MakeLoader() const {
    return *BatchLoader::Create(dataset_, *Normalization::Create({0.5}, {0.25}),
                                Augmentation(5, {.flip = true}));
  }

  // Takes `key` and compares it with what the loader gives on this thread.
  void ExpectBatch(BatchKey key, const std::vector<BatchKey>& next) {
    const nn::Batch batch = prefetcher_.Take(key, next);
    const std::vector<float> image(batch.inputs[0].begin(), batch.inputs[0].end());
    const std::vector<int32_t> labels(batch.labels.begin(), batch.labels.end());
    const nn::Batch expected =
        reference_.LoadForTraining(sampler_.Minibatch(key.replica, key.clock), key.clock / kStepsPerEpoch);
    EXPECT_THAT(expected.inputs[0], ElementsAreArray(image)) << key.replica << " " << key.clock;
    EXPECT_THAT(expected.labels, ElementsAreArray(labels));
  }

  const std::shared_ptr<WatchedDataset> dataset_ = std::make_shared<WatchedDataset>();
  const std::shared_ptr<FakeDataset> plain_ = std::make_shared<FakeDataset>(*dataset_);
  Sampler sampler_ = MakeSampler();
  BatchLoader reference_ =
      *BatchLoader::Create(plain_, *Normalization::Create({0.5}, {0.25}), Augmentation(5, {.flip = true}));
  BatchPrefetcher prefetcher_;
};

TEST_F(BatchPrefetcherTest, GivesTheLoadersMinibatchesThroughEveryEpoch) {
  for (Clock clock = 0; clock < 3 * kStepsPerEpoch; ++clock) {
    ExpectBatch({0, clock}, {{1, clock}, {0, clock + 1}});
    ExpectBatch({1, clock}, {{0, clock + 1}, {1, clock + 1}});
  }
}

TEST_F(BatchPrefetcherTest, GathersEachOnceWhenThePlanHolds) {
  for (Clock clock = 0; clock < 8; ++clock) ExpectBatch({0, clock}, {{0, clock + 1}, {0, clock + 2}});
  EXPECT_TRUE(dataset_->WaitFor(10));
}

TEST_F(BatchPrefetcherTest, GathersAheadWhileTheStepRunsAndNoFurther) {
  prefetcher_.Take({0, 0}, {{0, 1}, {0, 2}, {0, 3}});
  EXPECT_TRUE(dataset_->WaitFor(3));  // the one in use and two more
  dataset_->Hold(true);               // nothing can be gathered now, but these are there
  ExpectBatch({0, 1}, {});
  ExpectBatch({0, 2}, {});
  dataset_->Hold(false);
  EXPECT_EQ(dataset_->minibatches(), 3);
}

TEST_F(BatchPrefetcherTest, AMinibatchInUseStaysAsItIs) {
  const nn::Batch batch = prefetcher_.Take({0, 0}, {{0, 1}, {0, 2}});
  const std::vector<float> before(batch.inputs[0].begin(), batch.inputs[0].end());
  ASSERT_TRUE(dataset_->WaitFor(3));
  EXPECT_THAT(batch.inputs[0], ElementsAreArray(before));
}

TEST_F(BatchPrefetcherTest, AJumpTakesWhatItWants) {
  ExpectBatch({0, 0}, {{0, 1}, {0, 2}});
  ExpectBatch({1, 7}, {{1, 8}, {0, 1}});  // the round of clocks 1 to 6 was closed without us
  ExpectBatch({0, 1}, {{1, 8}, {1, 9}});  // another group's turn comes first
  ExpectBatch({1, 8}, {});
}

TEST_F(BatchPrefetcherTest, AJumpDoesNotWaitForWhatIsNotWantedAnyMore) {
  ExpectBatch({0, 0}, {{0, 1}});
  ASSERT_TRUE(dataset_->WaitFor(2));
  for (Clock clock = 10; clock < 30; clock += 5) ExpectBatch({0, clock}, {});
  EXPECT_EQ(dataset_->minibatches(), 6);
}

TEST_F(BatchPrefetcherTest, EndsWhileItGathers) {
  auto other = std::make_unique<BatchPrefetcher>(MakeSampler(), MakeLoader());
  other->Take({0, 0}, {});
  dataset_->Hold(true);
  other->Take({0, 0}, {{0, 1}, {0, 2}});  // the first is there, the others cannot be gathered
  std::thread end([&other] { other.reset(); });
  dataset_->Hold(false);
  end.join();
  EXPECT_EQ(other, nullptr);
}

TEST_F(BatchPrefetcherTest, RecordsWhatItGathers) {
  TraceRecorder recorder;
  {
    BatchPrefetcher traced(MakeSampler(), MakeLoader(), &recorder);
    traced.Take({1, 4}, {});
  }
  const TraceRecorder::Contents contents = recorder.contents();
  EXPECT_THAT(contents.tracks, ElementsAre("minibatches"));
  ASSERT_EQ(contents.events.size(), 1u);
  EXPECT_EQ(contents.events[0].kind, TraceKind::kLoad);
  EXPECT_EQ(contents.events[0].args.clock, 4);
}

}  // namespace
}  // namespace tessera

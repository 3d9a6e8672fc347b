// A worker's steps take the memory of tensors from pools: once all is warm, none comes from the heap. (The
// executor's own part has a test beside it; this is what surrounds it.)
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "common/mutex.h"
#include "tests/common/large_allocations.h"
#include "tests/worker/data/fake_dataset.h"
#include "worker/data/batch_prefetcher.h"
#include "worker/parameter_client.h"
#include "worker/pulled_weights.h"
#include "worker/step_exchange.h"

namespace tessera {
namespace {

constexpr Clock kWarm = 4;
constexpr Clock kSteps = 20;

// Answers every push at once, with weights that it always has.
class AnsweringServer : public ExchangeSender {
 public:
  AnsweringServer(const ShardLayout& layout, std::shared_ptr<ExchangeReceiver> worker)
      : worker_(std::move(worker)) {
    for (const Shard& shard : layout.shards()) {
      auto weights = std::make_shared<TensorBuffer>(static_cast<size_t>(shard.length));
      std::fill(weights->span().begin(), weights->span().end(), 0.5F);
      weights_.push_back(std::move(weights));
    }
  }

  void Send(ExchangeMessage message, int /*priority*/) override {
    ExchangeMessage answer;
    answer.kind = MessageKind::kHello;
    answer.protocol_version = message.protocol_version;
    answer.term = message.term;
    if (message.kind != MessageKind::kHello) {
      if (message.kind == MessageKind::kPush && !message.wants_weights) return;
      answer.kind = MessageKind::kWeights;
      answer.shard = message.shard;
      answer.replicas = message.replicas;
      answer.clock = message.kind == MessageKind::kPush ? message.clock + 1 : message.clock;
      answer.version = answer.clock;
      answer.tensor = TensorBytes(weights_[static_cast<size_t>(message.shard)]);
    }
    message = {};  // the gradient has been read
    worker_->OnMessage(std::move(answer));
  }
  void Flush() override {}
  void Grant(int64_t) override {}
  void Close(absl::Status) override { worker_ = nullptr; }  // they hold each other

 private:
  std::shared_ptr<ExchangeReceiver> worker_;
  std::vector<SharedTensor> weights_;
};

// Counts the samples that are gathered.
class CountedImages : public FakeDataset {
 public:
  CountedImages() : FakeDataset({1, 28, 28}, std::vector<uint8_t>(6000 * 784, 7)) {}

  int32_t Label(uint32_t index) const override {
    MutexLock lock(&mutex_);
    ++gathered_;
    changed_.NotifyAll();
    return FakeDataset::Label(index);
  }
  bool WaitFor(size_t samples) const {
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    MutexLock lock(&mutex_);
    while (gathered_ < samples && absl::Now() < deadline) changed_.WaitWithTimeout(&mutex_, absl::Seconds(1));
    return gathered_ >= samples;
  }

 private:
  mutable Mutex mutex_;
  mutable CondVar changed_;
  mutable size_t gathered_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Of one worker with `replicas` of a group of as many, on `lenet5`.
class SteadyState : public testing::TestWithParam<double> {
 protected:
  static constexpr ReplicaRange kReplicas{0, 2};  // summed here: two by two, then all

  SteadyState() {
    std::vector<ShardId> all;
    for (const Shard& shard : layout_.shards()) all.push_back(shard.id);
    client_ = *ParameterClient::Create({"worker 0", 1, false}, layout_, {{"server 0", 1, all}}, weights_);
    const absl::Status connected = client_->Connect(
        [this](const ServerPeer&, std::shared_ptr<ExchangeReceiver> receiver) {
          return std::make_shared<AnsweringServer>(layout_, std::move(receiver));
        },
        absl::Seconds(10));
    EXPECT_TRUE(connected.ok()) << connected;
    exchange_ = std::make_unique<StepExchange>(
        StepExchangeOptions{kReplicas.size(), 1000, /*clip_norm=*/GetParam(), absl::Seconds(10)}, *graph_,
        client_.get(), weights_.get(), /*memory=*/nullptr);
    client_->Request(0, 0, false);
  }

  static std::shared_ptr<const nn::Graph> MakeGraph() {
    const auto lenet5 = nn::ZooRegistry::Create("model", "lenet5", Options());
    return std::make_shared<const nn::Graph>(
        *nn::Graph::Create((*lenet5)->Layers({1, 28, 28}, 10), {1, 28, 28}, 10));
  }

  BatchPrefetcher MakePrefetcher() const {
    return BatchPrefetcher(*Sampler::Create(1, images_->size(), kReplicas.size(), 64),
                           *BatchLoader::Create(images_, *Normalization::Create({0.5}, {0.25})));
  }

  // What an executor does with its exchange in a minibatch.
  void RunStep(ReplicaId replica, Clock clock) {
    const std::vector<BatchKey> next = {{replica, clock + 1}, {replica, clock + 2}};
    ASSERT_EQ(batches_.Take({replica, clock}, next).size(), 64);
    exchange_->Begin(/*group=*/0, replica, clock);
    const int blocks = static_cast<int>(graph_->blocks().size());
    for (int block = 0; block < blocks; ++block) ASSERT_TRUE(exchange_->Weights(block).ok());
    for (int block = blocks - 1; block >= 0; --block) {
      const absl::Span<float> gradient = exchange_->Gradient(block);
      std::fill(gradient.begin(), gradient.end(), 1.0F);
      ASSERT_TRUE(exchange_->GradientReady(block).ok());
    }
  }

  // Until each of the prefetcher's slots has its memory, which is when it is first gathered into: left to the
  // steps, that might be late, since a step here is shorter than gathering.
  void FillSlots() {
    batches_.Take({0, 0}, {{{0, 1}, {0, 2}}});
    ASSERT_TRUE(images_->WaitFor((1 + BatchPrefetcher::kAhead) * 64));
  }

  void RunSteps(Clock first, Clock last) {
    for (Clock clock = first; clock < last; ++clock) {
      for (ReplicaId replica = kReplicas.first; replica <= kReplicas.last; ++replica) RunStep(replica, clock);
    }
  }

  const std::shared_ptr<const nn::Graph> graph_ = MakeGraph();
  const ShardLayout layout_ = *ShardLayout::Create(graph_->blocks(), 512 << 10);
  const std::shared_ptr<PulledWeights> weights_ =
      std::make_shared<PulledWeights>(layout_, std::vector<ReplicaRange>{kReplicas});
  std::unique_ptr<ParameterClient> client_;
  std::unique_ptr<StepExchange> exchange_;
  const std::shared_ptr<CountedImages> images_ = std::make_shared<CountedImages>();
  BatchPrefetcher batches_ = MakePrefetcher();
};

TEST_P(SteadyState, AStepTakesNoTensorFromTheHeap) {
  FillSlots();
  RunSteps(0, kWarm);
  const int warm = LargeAllocations();
  EXPECT_GT(warm, 0);  // they are counted
  RunSteps(kWarm, kSteps);
  EXPECT_EQ(LargeAllocations() - warm, 0);
}

INSTANTIATE_TEST_SUITE_P(Clipping, SteadyState, testing::Values(0.0, 1.0),
                         [](const auto& test) { return test.param > 0 ? "Clipped" : "Unclipped"; });

}  // namespace
}  // namespace tessera

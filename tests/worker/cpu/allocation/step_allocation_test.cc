// The steady state of a step: what our code takes from the heap (nothing), and what oneDNN does in its
// execution.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "tests/worker/cpu/agreement.h"
#include "tests/worker/cpu/allocation/heap.h"

namespace tessera::cpu {
namespace {

constexpr int64_t kBatch = 8;
// oneDNN makes a map of a primitive's arguments, and its sgemm takes 72 KiB to pack into. Less than this
// comes from the heap without a call to the kernel.
constexpr size_t kLargestOfLibrary = 128 << 10;

std::shared_ptr<const nn::Graph> MakeNetwork(const std::string& name) {
  Shape image = {3, 32, 32};
  if (name == "lenet5") image = {1, 28, 28};
  if (name == "alexnet" || name == "resnet18") image = {3, 64, 64};
  auto network = nn::ZooRegistry::Create("model", name, Options());
  EXPECT_TRUE(network.ok()) << network.status();
  return MakeGraph((*network)->Layers(image, 10), image, 10);
}

// Weights and gradients in memory, and nothing else: it takes nothing from the heap.
class QuietExchange final : public nn::ParameterExchange {
 public:
  explicit QuietExchange(const nn::Graph& graph) : blocks_(RandomWeights(graph)) {}
  absl::StatusOr<absl::Span<const float>> Weights(int block) override {
    return absl::Span<const float>(blocks_.weights[block]);
  }
  absl::Span<float> Gradient(int block) override { return absl::MakeSpan(blocks_.gradients[block]); }
  absl::Status GradientReady(int /*block*/) override { return absl::OkStatus(); }

 private:
  nn::MemoryExchange blocks_;
};

class StepAllocation : public testing::TestWithParam<std::tuple<std::string, int>> {};

TEST_P(StepAllocation, TakesNothingFromTheHeapAfterTheFirst) {
  const auto& [network, threads] = GetParam();
  const auto graph = MakeNetwork(network);
  const auto executor = MakeExecutor("cpu", graph, threads);
  QuietExchange exchange(*graph);
  const Samples samples(*graph, kBatch);
  const nn::Batch batch = samples.batch();
  const auto step = [&] { return executor->Step(batch, {}, &exchange).ok(); };
  ASSERT_TRUE(step() && step());
  heap::Watch watch;
  const bool ok = step() && step();
  const heap::Counts counts = watch.Stop();
  ASSERT_TRUE(ok);
  EXPECT_EQ(counts.ours, 0);
  // oneDNN's sgemm packs 4.7 MB for alexnet's linear layers of a few rows.
  if (network != "alexnet") {
    EXPECT_LT(counts.largest, kLargestOfLibrary);
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, StepAllocation,
                         testing::Combine(testing::Values("lenet5", "resnet20", "resnet18", "alexnet"),
                                          testing::Values(1, 2)),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "_threads" +
                                  std::to_string(std::get<1>(info.param));
                         });

// The counting itself, or the test above would pass with a blind one.
TEST(HeapWatch, CountsWhatIsAllocatedAndByWhom) {
  heap::Watch watch;
  const auto data = std::make_unique<std::vector<float>>(5000);
  const heap::Counts counts = watch.Stop();
  EXPECT_EQ(counts.ours, 2);
  EXPECT_EQ(counts.library, 0);
  EXPECT_EQ(counts.largest, 5000 * sizeof(float));
}

}  // namespace
}  // namespace tessera::cpu

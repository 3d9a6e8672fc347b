// The first promise under every optimizer: its state lives with the shards, and no cluster changes a bit of
// it.
#include <gtest/gtest.h>

#include <string>

#include "server/optimizer.h"
#include "tests/common/temporary_folder.h"
#include "tests/integration/in_process_cluster.h"
#include "tests/integration/synthetic_job.h"

namespace tessera {
namespace {

constexpr int kReplicas = 4;
constexpr int kBatch = 4;
constexpr int kSteps = 4;

// Weights of several shards, biases, a normalisation with its statistics.
constexpr char kModel[] =
    "{ layers: [{ type: conv2d, out_channels: 8, kernel: 5, stride: 3 }, { type: batch_norm }, { type: relu "
    "},"
    " { type: flatten }, { type: linear, out_features: 40 }, { type: relu }, { type: linear, out_features: "
    "10 }] }";

class OptimizerSameBits : public ::testing::TestWithParam<std::string> {
 protected:
  static SyntheticJob Job() {
    const TemporaryFolder folder;
    EXPECT_TRUE(WriteSyntheticData(folder.path(), kSteps * kReplicas * kBatch, 10).ok());
    absl::StatusOr<SyntheticJob> job =
        MakeSyntheticJob(SyntheticJobText(folder.path(), kModel, kReplicas, kBatch, 3));
    EXPECT_TRUE(job.ok()) << job.status();
    return *std::move(job);
  }

  static std::string Digest(SyntheticJob job, const Options& options, int servers, int workers) {
    job.plan.job.train.optimizer = {.name = GetParam(), .options = options};
    InProcessOptions cluster;
    cluster.servers = servers;
    cluster.workers = workers;
    cluster.shuffle_seed = static_cast<uint64_t>(10 * servers + workers);
    const absl::StatusOr<InProcessResult> result = RunInProcess(job.plan, job.data, cluster);
    EXPECT_TRUE(result.ok()) << result.status();
    return WeightsDigest(result->tensors);
  }
};

TEST_P(OptimizerSameBits, ForAnyNumberOfWorkersAndServers) {
  const SyntheticJob job = Job();
  ASSERT_GT(job.plan.layout.shards().size(), 5U);
  const Options options = {{"lr", "0.01"}, {"weight_decay", "0.1"}, {"decay_bias_and_norm", "false"}};
  const std::string digest = Digest(job, options, 1, 1);
  for (const int workers : {1, 2, 4}) {
    for (const int servers : {1, 3}) {
      EXPECT_EQ(Digest(job, options, servers, workers), digest)
          << workers << " workers, " << servers << " servers";
    }
  }
}

TEST_P(OptimizerSameBits, AnotherRateDecayOrExemptionGivesOtherBits) {
  const SyntheticJob job = Job();
  const Options options = {{"lr", "0.01"}, {"weight_decay", "0.1"}, {"decay_bias_and_norm", "false"}};
  const std::string digest = Digest(job, options, 1, 2);
  for (const auto& [name, value] :
       {std::pair{"lr", "0.02"}, {"weight_decay", "0.2"}, {"decay_bias_and_norm", "true"}}) {
    Options other = options;
    other.Set(name, {value, ""});
    EXPECT_NE(Digest(job, other, 1, 2), digest) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, OptimizerSameBits, ::testing::ValuesIn(OptimizerRegistry::Names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tessera

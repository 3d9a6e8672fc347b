// The first promise for a list of layers in a job file: what dropout drops depends on the replica and its
// clock, not on who computes it.
#include <gtest/gtest.h>

#include <string>

#include "tests/common/temporary_folder.h"
#include "tests/integration/in_process_cluster.h"
#include "tests/integration/synthetic_job.h"

namespace tessera {
namespace {

constexpr int kReplicas = 4, kSteps = 6, kBatchSize = 4;

std::string Model(const std::string& dropout) {
  return R"({ layers: [
    { name: conv, type: conv2d, out_channels: 8, kernel: [5, 3], stride: 2 },
    { name: relu, type: relu },
    { name: norm, type: local_response_norm, size: 3, alpha: 0.1 },
    { name: pool, type: avg_pool, kernel: 3, stride: 2, padding: 1 },
    { name: deep, type: conv2d, out_channels: 16, kernel: 3, padding: 2, dilation: 2, groups: 8, inputs: [pool] },
    { name: drop, type: dropout, p: )" +
         dropout + R"(, inputs: [deep] },
    { name: both, type: concat, inputs: [pool, drop] },
    { name: grid, type: adaptive_avg_pool, output: [3, 2] },
    { name: rows, type: flatten },
    { name: drop2, type: dropout, p: )" +
         dropout + R"( },
    { name: fc, type: linear, out_features: 10 },
    { name: loss, type: softmax_cross_entropy, label_smoothing: 0.1 } ] })";
}

class LayersSameBits : public ::testing::Test {
 protected:
  SyntheticJob Job(const std::string& dropout) {
    const TemporaryFolder folder;
    EXPECT_TRUE(WriteSyntheticData(folder.path(), kSteps * kReplicas * kBatchSize, 30).ok());
    absl::StatusOr<SyntheticJob> job =
        MakeSyntheticJob(SyntheticJobText(folder.path(), Model(dropout), kReplicas, kBatchSize, 1));
    EXPECT_TRUE(job.ok()) << job.status();
    return *std::move(job);
  }

  static std::string Digest(const SyntheticJob& job, int servers, int workers, uint64_t shuffle_seed) {
    InProcessOptions options;
    options.servers = servers;
    options.workers = workers;
    options.shuffle_seed = shuffle_seed;
    absl::StatusOr<InProcessResult> result = RunInProcess(job.plan, job.data, options);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? WeightsDigest(result->tensors) : "";
  }
};

TEST_F(LayersSameBits, OnAnyClusterWithDropout) {
  const SyntheticJob job = Job("0.5");
  const std::string digest = Digest(job, 1, 1, 0);
  EXPECT_EQ(Digest(job, 2, 2, 11), digest);
  EXPECT_EQ(Digest(job, 3, 3, 12), digest);
  EXPECT_EQ(Digest(job, 1, 4, 13), digest);
}

TEST_F(LayersSameBits, DropoutChangesThem) {
  EXPECT_NE(Digest(Job("0.5"), 1, 1, 0), Digest(Job("0"), 1, 1, 0));
}

}  // namespace
}  // namespace tessera

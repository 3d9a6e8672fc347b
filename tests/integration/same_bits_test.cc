// The first promise: the same bits on any cluster, in any order of arrival.
#include <gtest/gtest.h>

#include <string>

#include "tests/common/temporary_folder.h"
#include "tests/integration/in_process_cluster.h"
#include "tests/integration/synthetic_job.h"

namespace tessera {
namespace {

class SameBits : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr int kSteps = 12;

  SyntheticJob Job(int replicas, int seed) {
    const TemporaryFolder folder;
    EXPECT_TRUE(WriteSyntheticData(folder.path(), kSteps * replicas * 4, 30).ok());
    absl::StatusOr<SyntheticJob> job =
        MakeSyntheticJob(SyntheticJobText(folder.path(), GetParam(), replicas, 4, seed));
    EXPECT_TRUE(job.ok()) << job.status();
    return *std::move(job);
  }

  static InProcessResult Run(const SyntheticJob& job, int servers, int workers, uint64_t shuffle_seed) {
    InProcessOptions options;
    options.servers = servers;
    options.workers = workers;
    options.shuffle_seed = shuffle_seed;
    absl::StatusOr<InProcessResult> result = RunInProcess(job.plan, job.data, options);
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }
};

TEST_P(SameBits, ForAnyNumberOfWorkersAndServersAndAnyOrderOfArrival) {
  constexpr int kReplicas = 5;  // not a power of two: only children in the tree
  const SyntheticJob job = Job(kReplicas, 1);
  const InProcessResult one = Run(job, 1, 1, 0);
  const std::string digest = WeightsDigest(one.tensors);
  for (const auto& [servers, workers, shuffle] :
       {std::tuple{2, 2, 0}, {3, 3, 11}, {1, 5, 12}, {2, 4, 13}, {3, 7, 14}}) {
    SCOPED_TRACE(testing::Message() << servers << " servers, " << workers << " workers, shuffle " << shuffle);
    const InProcessResult other = Run(job, servers, workers, static_cast<uint64_t>(shuffle));
    EXPECT_EQ(WeightsDigest(other.tensors), digest);
    ASSERT_EQ(other.evaluations.size(), one.evaluations.size());
    for (const auto& [clock, totals] : one.evaluations) {
      EXPECT_EQ(other.evaluations.at(clock).correct, totals.correct);
      EXPECT_EQ(other.evaluations.at(clock).loss_sum, totals.loss_sum);
      EXPECT_EQ(other.evaluations.at(clock).samples, 30);
    }
    const auto shards = static_cast<int64_t>(job.plan.layout.shards().size());
    EXPECT_EQ(other.replica_pushes, kReplicas * kSteps * shards)
        << "each (replica, clock) once on every shard";
  }
}

TEST_P(SameBits, AnotherSeedGivesOtherBits) {
  EXPECT_NE(WeightsDigest(Run(Job(2, 1), 1, 2, 0).tensors), WeightsDigest(Run(Job(2, 2), 1, 2, 0).tensors));
}

INSTANTIATE_TEST_SUITE_P(Networks, SameBits, ::testing::Values("lenet5", "resnet20"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tessera

// The same cluster over every transport: the same bits, and shared memory wherever it is agreed on.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "absl/strings/str_replace.h"
#include "tests/common/temporary_folder.h"
#include "tests/integration/in_process_cluster.h"
#include "tests/integration/synthetic_job.h"

namespace tessera {
namespace {

constexpr int kReplicas = 5;  // not a power of two

struct Case {
  const char* name;
  const char* consistency;  // of the job
  bool exact;               // it promises the same bits
};

class GrpcTransports : public ::testing::TestWithParam<Case> {
 protected:
  static SyntheticJob Job() {
    const TemporaryFolder folder;
    EXPECT_TRUE(WriteSyntheticData(folder.path(), 12 * kReplicas * 4, 30).ok());
    absl::StatusOr<SyntheticJob> job =
        MakeSyntheticJob(absl::StrReplaceAll(SyntheticJobText(folder.path(), "lenet5", kReplicas, 4, 1),
                                             {{"mode: sync", GetParam().consistency}}));
    EXPECT_TRUE(job.ok()) << job.status();
    return *std::move(job);
  }

  static InProcessResult Run(const SyntheticJob& job, ClusterTransport transport, int workers,
                             int server_threads = 1) {
    InProcessOptions options;
    options.transport = transport;
    options.servers = 2;
    options.server_threads = server_threads;
    options.workers = workers;
    absl::StatusOr<InProcessResult> result = RunInProcess(job.plan, job.data, options);
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }
};

TEST_P(GrpcTransports, GiveTheSameBitsAndShareMemoryOnlyIfTold) {
  const SyntheticJob job = Job();
  for (const int workers : {1, 2}) {  // several replicas a worker: subtrees are summed before they are sent
    const InProcessResult tcp = Run(job, ClusterTransport::kGrpc, workers);
    const InProcessResult shared = Run(job, ClusterTransport::kGrpcSharedMemory, workers);
    EXPECT_EQ(tcp.shared_memory_bytes, 0);
    // A gradient or version that finds no room goes as bytes; in sync there is room for all.
    EXPECT_GT(shared.shared_memory_bytes, (shared.pushed_bytes + shared.pulled_bytes) / 2);
    if (GetParam().exact) {
      EXPECT_EQ(shared.shared_memory_bytes, shared.pushed_bytes + shared.pulled_bytes);
      EXPECT_EQ(shared.shared_memory_refused, 0);
    }
    EXPECT_EQ(shared.replica_pushes, tcp.replica_pushes);
    // Where versions are not exact, a version that a worker holds would be one more.
    EXPECT_EQ(shared.installed_bytes == shared.pulled_bytes, !GetParam().exact);
    if (!GetParam().exact) continue;
    const InProcessResult in_process = Run(job, ClusterTransport::kInProcess, workers);
    EXPECT_EQ(WeightsDigest(tcp.tensors), WeightsDigest(in_process.tensors));
    EXPECT_EQ(WeightsDigest(shared.tensors), WeightsDigest(in_process.tensors));
  }
}

// Pushes of one shard then come on several threads at once, and rounds are completed by any of them.
TEST_P(GrpcTransports, GiveTheSameBitsForAnyNumberOfServerThreads) {
  const SyntheticJob job = Job();
  const InProcessResult one = Run(job, ClusterTransport::kGrpc, /*workers=*/kReplicas);
  for (const ClusterTransport transport : {ClusterTransport::kGrpc, ClusterTransport::kGrpcSharedMemory}) {
    const InProcessResult many = Run(job, transport, /*workers=*/kReplicas, /*server_threads=*/4);
    EXPECT_EQ(many.replica_pushes, one.replica_pushes);
    if (!GetParam().exact) continue;
    EXPECT_EQ(WeightsDigest(many.tensors), WeightsDigest(one.tensors));
  }
}

// A network with batch-norm statistics, and blocks of many shards.
class GrpcPulls : public ::testing::TestWithParam<const char*> {
 protected:
  static InProcessResult Run(ClusterTransport transport, int servers, int replicas, int workers) {
    const TemporaryFolder folder;
    EXPECT_TRUE(WriteSyntheticData(folder.path(), 10 * replicas * 4, 30).ok());
    const absl::StatusOr<SyntheticJob> job = MakeSyntheticJob(
        absl::StrReplaceAll(SyntheticJobText(folder.path(), GetParam(), replicas, 4, 1),
                            {{"epochs: 1", "epochs: 2"}, {"shard_bytes: 64KiB", "shard_bytes: 16KiB"}}));
    EXPECT_TRUE(job.ok()) << job.status();
    InProcessOptions options;
    options.transport = transport;
    options.servers = servers;
    options.workers = workers;
    absl::StatusOr<InProcessResult> result = RunInProcess(job->plan, job->data, options);
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }
};

TEST_P(GrpcPulls, CopyNothingWhereOneServerSharesItsMemory) {
  for (const auto& [replicas, workers] : {std::pair{1, 1}, {2, 2}, {3, 2}, {7, 3}}) {
    SCOPED_TRACE(testing::Message() << replicas << " replicas, " << workers << " workers");
    const InProcessResult tcp = Run(ClusterTransport::kGrpc, 1, replicas, workers);
    const InProcessResult shared = Run(ClusterTransport::kGrpcSharedMemory, 1, replicas, workers);
    EXPECT_EQ(tcp.installed_bytes, tcp.pulled_bytes);
    EXPECT_EQ(shared.installed_bytes, 0);
    EXPECT_EQ(shared.shared_memory_bytes, shared.pushed_bytes + shared.pulled_bytes);
    EXPECT_EQ(shared.shared_memory_refused, 0) << "versions in place take no memory that was not laid out";
    EXPECT_EQ(WeightsDigest(shared.tensors), WeightsDigest(tcp.tensors));
    ASSERT_EQ(shared.evaluations.size(), 2U);
    for (const auto& [clock, totals] : tcp.evaluations) {
      EXPECT_EQ(shared.evaluations.at(clock).loss_sum, totals.loss_sum);
    }
  }
}

TEST_P(GrpcPulls, CopyOnlyBlocksThatAreSplitBetweenServers) {
  const InProcessResult tcp = Run(ClusterTransport::kGrpc, 2, 2, 2);
  const InProcessResult shared = Run(ClusterTransport::kGrpcSharedMemory, 2, 2, 2);
  EXPECT_GT(shared.installed_bytes, 0);
  EXPECT_LT(shared.installed_bytes, shared.pulled_bytes);
  EXPECT_EQ(shared.shared_memory_refused, 0);
  EXPECT_EQ(WeightsDigest(shared.tensors), WeightsDigest(tcp.tensors));
}

TEST(GrpcDropping, RunsCopyWhatTheyPullThroughSharedMemory) {
  // A replica that jumps leaves weights behind that nobody will read.
  const TemporaryFolder folder;
  ASSERT_TRUE(WriteSyntheticData(folder.path(), 20 * 3 * 4, 30).ok());
  const absl::StatusOr<SyntheticJob> job = MakeSyntheticJob(
      absl::StrReplaceAll(SyntheticJobText(folder.path(), "lenet5", 3, 4, 1),
                          {{"mode: sync", "mode: sync, drop_stragglers: 1"}, {"workers: 1", "workers: 3"}}));
  ASSERT_TRUE(job.ok()) << job.status();
  InProcessOptions options;
  options.transport = ClusterTransport::kGrpcSharedMemory;
  options.workers = 3;
  const absl::StatusOr<InProcessResult> result = RunInProcess(job->plan, job->data, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->shared_memory_bytes, (result->pushed_bytes + result->pulled_bytes) / 2);
  EXPECT_GT(result->installed_bytes, 0);
}

INSTANTIATE_TEST_SUITE_P(Networks, GrpcPulls, ::testing::Values("lenet5", "resnet20"),
                         [](const auto& info) { return std::string(info.param); });

INSTANTIATE_TEST_SUITE_P(Modes, GrpcTransports,
                         ::testing::Values(Case{"Sync", "mode: sync", true},
                                           Case{"Async", "mode: async", false},
                                           Case{"Ssp", "mode: ssp, staleness: 1", false}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tessera

// Servers that die in the middle of training, with backups: the run ends as an undisturbed one, and no step
// is lost.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "common/random.h"
#include "common/rpc/exchange_client.h"
#include "server/grpc_exchange_server.h"
#include "server/replicator.h"
#include "tests/common/temporary_folder.h"
#include "tests/integration/in_process_cluster.h"
#include "tests/integration/lossy_exchange.h"
#include "tests/integration/synthetic_job.h"
#include "tests/server/test_store.h"

namespace tessera {
namespace {

constexpr int kReplicas = 4;
constexpr int64_t kSteps = 6;  // of each replica
constexpr char kDropping[] = "sync, drop_stragglers: 2";

SyntheticJob MakeJob(const std::string& mode) {
  const TemporaryFolder folder;
  EXPECT_TRUE(WriteSyntheticData(folder.path(), 3 * kReplicas * 4, 10).ok());
  const std::string text =
      absl::StrReplaceAll(SyntheticJobText(folder.path(), "lenet5", kReplicas, 4, 1),
                          {{"consistency: { mode: sync }", absl::StrCat("consistency: { mode: ", mode, " }")},
                           {"epochs: 1", "epochs: 2"},
                           {"workers: 1", "workers: 2"}});
  absl::StatusOr<SyntheticJob> job = MakeSyntheticJob(text);
  EXPECT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->plan.total_steps, kSteps);
  return *std::move(job);
}

// Kills servers when so many gradients of layers have been made, by all workers together. Thread-safe.
class Killer {
 public:
  explicit Killer(std::map<int, int> server_at) : server_at_(std::move(server_at)) {}

  void Watch(InProcessOptions* options) {
    options->give_kill = [this](std::function<void(int)> kill) { kill_ = std::move(kill); };
    options->wrap_executor = [this](std::unique_ptr<nn::Executor> executor) {
      return std::make_unique<Executor>(this, std::move(executor));
    };
  }
  int killed() const { return killed_; }

 private:
  class Executor : public nn::Executor {
   public:
    Executor(Killer* killer, std::unique_ptr<nn::Executor> executor)
        : killer_(killer), executor_(std::move(executor)) {}
    absl::StatusOr<nn::StepResult> Step(const nn::Batch& batch, const nn::StepKey& key,
                                        nn::ParameterExchange* exchange) override {
      Exchange watched(killer_, exchange);
      return executor_->Step(batch, key, &watched);
    }
    absl::StatusOr<nn::EvaluationResult> Evaluate(const nn::Batch& batch,
                                                  nn::ParameterExchange* exchange) override {
      return executor_->Evaluate(batch, exchange);
    }
    std::string Fingerprint() const override { return executor_->Fingerprint(); }

   private:
    Killer* const killer_;
    const std::unique_ptr<nn::Executor> executor_;
  };

  class Exchange : public nn::ParameterExchange {
   public:
    Exchange(Killer* killer, nn::ParameterExchange* exchange) : killer_(killer), exchange_(exchange) {}
    absl::StatusOr<absl::Span<const float>> Weights(int block) override { return exchange_->Weights(block); }
    absl::Span<float> Gradient(int block) override { return exchange_->Gradient(block); }
    absl::Status GradientReady(int block) override {
      absl::Status status = exchange_->GradientReady(block);
      killer_->OnGradient();
      return status;
    }

   private:
    Killer* const killer_;
    nn::ParameterExchange* const exchange_;
  };

  void OnGradient() {
    const auto server = server_at_.find(++made_);
    if (server == server_at_.end()) return;
    ++killed_;
    kill_(server->second);
  }

  const std::map<int, int> server_at_;
  std::function<void(int)> kill_;  // set before training
  std::atomic<int> made_{0};
  std::atomic<int> killed_{0};
};

void ExpectSame(const InProcessResult& result, const InProcessResult& undisturbed) {
  ASSERT_EQ(result.tensors.size(), undisturbed.tensors.size());
  for (const auto& [name, tensor] : undisturbed.tensors)
    EXPECT_EQ(result.tensors.at(name).values, tensor.values) << name;
  ASSERT_EQ(result.evaluations.size(), undisturbed.evaluations.size());
  for (const auto& [clock, totals] : undisturbed.evaluations)
    EXPECT_EQ(result.evaluations.at(clock).loss_sum, totals.loss_sum) << clock;
}

class EveryModeWithBackups : public testing::TestWithParam<const char*> {
 protected:
  // Runs with servers that die, and compares it with an undisturbed run.
  void Run(InProcessOptions options, std::map<int, int> server_at) {
    const SyntheticJob job = MakeJob(GetParam());
    InProcessOptions alone;
    alone.servers = options.servers;
    alone.workers = options.workers;
    const absl::StatusOr<InProcessResult> undisturbed = RunInProcess(job.plan, job.data, alone);
    ASSERT_TRUE(undisturbed.ok()) << undisturbed.status();
    const int deaths = static_cast<int>(server_at.size());
    Killer killer(std::move(server_at));
    killer.Watch(&options);
    const absl::StatusOr<InProcessResult> result = RunInProcess(job.plan, job.data, options);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(killer.killed(), deaths);
    const std::string mode = GetParam();
    if (mode == kDropping) return;  // whom rounds drop, from the first on, is a matter of time
    EXPECT_EQ(result->recomputed_steps, 0);
    EXPECT_EQ(result->applied_min, kSteps);
    EXPECT_EQ(result->applied_max, kSteps);
    if (mode == "sync") ExpectSame(*result, *undisturbed);
  }

  static InProcessOptions Options(int servers, int backups) {
    InProcessOptions options;
    options.servers = servers;
    options.workers = 2;
    options.backups = backups;
    options.shuffle_seed = 3;
    options.first_wait = absl::Milliseconds(20);
    return options;
  }
};

TEST_P(EveryModeWithBackups, TrainsAsWithout) { Run(Options(2, 1), {}); }

TEST_P(EveryModeWithBackups, GoesOnWhenAServerDies) {
  for (const int gradient : {1, 7, 22, 40}) {
    SCOPED_TRACE(gradient);
    Run(Options(2, 1), {{gradient, gradient % 2}});
  }
}

TEST_P(EveryModeWithBackups, GoesOnWhenTwoOfThreeServersDie) { Run(Options(3, 2), {{9, 1}, {25, 2}}); }

TEST_P(EveryModeWithBackups, GoesOnWhenMessagesAreLostToo) {
  Chance lost_request(1, 12), lost_answer(2, 12), cut(3, 90);
  InProcessOptions options = Options(2, 1);
  options.first_wait = absl::Milliseconds(10);
  options.wrap_sender = [&](std::shared_ptr<ExchangeSender> sender) {
    return std::make_shared<LossySender>(std::move(sender), &lost_request, &cut);
  };
  options.wrap_receiver = [&](std::shared_ptr<ExchangeReceiver> receiver) {
    return std::make_shared<LossyReceiver>(std::move(receiver), &lost_answer);
  };
  Run(options, {{15, 0}});
}

INSTANTIATE_TEST_SUITE_P(Modes, EveryModeWithBackups,
                         testing::Values("sync", kDropping, "grouped, group: 2", "ssp, staleness: 1",
                                         "async"));

// The daemons' transport, from server to server: a backup, and a server that is copied to.
TEST(ReplicationOverGrpc, BackupAndJoiningServerGetWhatThePrimaryHas) {
  constexpr NodeId kPrimary = 1, kBackup = 2, kJoining = 3;
  ExchangeClient client;
  const auto replicator =
      std::make_shared<Replicator>(ReplicatorOptions{.node = "server 0", .node_id = kPrimary});
  auto options = StoreOptions({.replicas = 1, .group = 1}, "momentum", {{"lr", "0.1"}});
  options.forwards = replicator;
  constexpr int64_t kElements = 300'000;  // two shards and statistics; more than one slice each
  const ShardLayout layout = TestLayout(kElements, 800'000);
  const std::shared_ptr<ParameterStore> primary = ParameterStore::Create(options, layout, {0, 1, 2}).value();
  std::map<NodeId, std::shared_ptr<ParameterStore>> others;
  std::vector<std::unique_ptr<GrpcExchangeServer>> servers;
  std::vector<BackupPeer> peers;
  for (const NodeId node : {kBackup, kJoining}) {
    const std::vector<ShardId> held =
        node == kBackup ? std::vector<ShardId>{0, 1, 2} : std::vector<ShardId>();
    others[node] = ParameterStore::Create(options, layout, held).value();
    const ShardDuty duty{.role = ShardRole::kBackup};
    ASSERT_TRUE(others[node]->SetDuties(1, {{0, duty}, {1, duty}, {2, duty}}).ok());
    const auto service = ParameterService::Create();
    service->Adopt(others[node], 1, {kPrimary, kPrimary, kPrimary});
    servers.push_back(GrpcExchangeServer::Start({}, service, 1).value());
    BackupPeer peer{.node_id = node, .address = servers.back()->address()};
    (node == kBackup ? peer.backups : peer.joining) = {0, 1, 2};
    peers.push_back(std::move(peer));
  }
  replicator->Start([&client](const BackupPeer& peer, std::shared_ptr<ExchangeReceiver> receiver) {
    return client.Open(peer.address, std::move(receiver));
  });
  const ShardDuty leads{.backups = {kBackup}, .joining = {kJoining}};
  ASSERT_TRUE(primary->SetDuties(1, {{0, leads}, {1, leads}, {2, leads}}).ok());
  replicator->SetMap(primary, 1, 0, peers);
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  for (Clock clock = 0; clock < 5 || replicator->copied().size() < 3; ++clock) {
    ASSERT_LT(absl::Now(), deadline);
    for (const Shard& shard : layout.shards()) {
      const Floats gradient(static_cast<size_t>(shard.length), 0.5F);
      ASSERT_TRUE(primary->Push({shard.id, {0, 0}, clock, clock}, Bytes(gradient)).ok());
      std::promise<Version> read;
      primary->Read(shard.id, 0, clock + 1, [&read](const absl::StatusOr<ShardVersion>& answer) {
        read.set_value(answer.ok() ? answer->version : -1);
      });
      std::future<Version> version = read.get_future();
      ASSERT_EQ(version.wait_for(std::chrono::seconds(30)), std::future_status::ready);
      ASSERT_EQ(version.get(), clock + 1);
    }
  }
  replicator->Close();
  for (auto& [node, store] : others) {
    const ShardDuty alone;
    ASSERT_TRUE(store->SetDuties(2, {{0, alone}, {1, alone}, {2, alone}}).ok());
    for (const Shard& shard : layout.shards()) {
      EXPECT_EQ(store->Mark(shard.id), primary->Mark(shard.id));
      EXPECT_TRUE(SameBits(Weights(*store, shard.id), Weights(*primary, shard.id)));
    }
  }
}

}  // namespace
}  // namespace tessera

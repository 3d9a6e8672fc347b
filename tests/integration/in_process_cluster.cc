#include "tests/integration/in_process_cluster.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "common/assemble.h"
#include "common/in_process_exchange.h"
#include "common/mutex.h"
#include "common/protocol.h"
#include "common/rpc/exchange_client.h"
#include "common/shared_memory/outbox.h"
#include "common/status.h"
#include "server/grpc_exchange_server.h"
#include "server/parameter_service.h"
#include "server/replicator.h"
#include "server/store_factory.h"
#include "worker/data/normalization.h"
#include "worker/trainer.h"

namespace tessera {
namespace {

class Cluster {
 public:
  Cluster(const JobPlan& plan, const JobData& data, const InProcessOptions& options)
      : plan_(plan), data_(data), options_(options), network_(options.shuffle_seed) {}
  ~Cluster() {
    for (const auto& replicator : replicators_) {
      if (replicator != nullptr) replicator->Close();
    }
  }

  absl::StatusOr<InProcessResult> Run() {
    TESSERA_RETURN_IF_ERROR(StartServers());
    const int most_workers = std::max(options_.workers, options_.most_workers);
    std::vector<std::thread> threads;
    for (int worker = 0; worker < most_workers; ++worker) {
      threads.emplace_back([this, worker] {
        const absl::Status status = RunWorker(worker);
        MutexLock lock(&mutex_);
        over_ = true;
        changed_.NotifyAll();
        if (failure_.ok()) failure_ = status;
        if (!status.ok()) {
          for (const Listed* session : sessions_)
            session->client()->Fail(absl::CancelledError("another worker failed"));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    MutexLock lock(&mutex_);
    TESSERA_RETURN_IF_ERROR(failure_);
    for (auto& [clock, chunks] : chunks_) {
      std::sort(chunks.begin(), chunks.end(), [](const auto& a, const auto& b) { return a.chunk < b.chunk; });
      result_.evaluations[clock] = SumChunks(chunks);
    }
    TESSERA_RETURN_IF_ERROR(Collect());
    return std::move(result_);
  }

 private:
  // A session that is told when another worker fails, a server dies, or replicas change workers.
  class Listed {
   public:
    // The client was made with the map of `term`.
    Listed(Cluster* cluster, ParameterClient* client, int64_t term, int worker, ReplicaRange local)
        : cluster_(cluster), client_(client), worker_(worker), local_(local) {
      MutexLock lock(&cluster_->mutex_);
      cluster_->sessions_.push_back(this);
      if (term != cluster_->term_) Hear(absl::OkStatus());
      if (!cluster_->failure_.ok()) client_->Fail(absl::CancelledError("another worker failed"));
    }
    ~Listed() {
      MutexLock lock(&cluster_->mutex_);
      std::erase(cluster_->sessions_, this);
    }

    int worker() const { return worker_; }
    ReplicaRange local() const { return local_; }
    ParameterClient* client() const { return client_; }
    void SetTrainer(Trainer* trainer) {
      MutexLock lock(&cluster_->mutex_);
      trainer_ = trainer;
      trainer_->EndAt(end_);
    }
    // What follows under the cluster's lock.
    void DropTrainer() { trainer_ = nullptr; }
    void EndAt(Clock clock) {
      end_ = clock;
      if (trainer_ != nullptr) trainer_->EndAt(clock);
    }
    Clock end() const { return end_; }
    void Hear(const absl::Status& adopted) const ABSL_NO_THREAD_SAFETY_ANALYSIS {
      const absl::Status heard =
          adopted.ok() ? client_->Adopt(cluster_->term_, cluster_->PeersLocked()) : adopted;
      if (!heard.ok()) client_->Fail(heard);
    }

   private:
    Cluster* const cluster_;
    ParameterClient* const client_;
    const int worker_;
    const ReplicaRange local_;
    Trainer* trainer_ = nullptr;
    Clock end_ = Trainer::kNever;
  };

  absl::Status StartServers() {
    Place();
    std::vector<ReplicaRange> units;
    for (const auto& replicas : AssignReplicas(plan_.job.train.replicas, options_.workers)) {
      if (!replicas.empty()) units.push_back({replicas.front(), replicas.back()});
    }
    for (int server = 0; server < options_.servers; ++server) {
      services_.push_back(ParameterService::Create());
      replicators_.push_back(options_.backups > 0 ? MakeReplicator(server) : nullptr);
      TESSERA_ASSIGN_OR_RETURN(const VersionMemorySource memory, Listen());
      TESSERA_ASSIGN_OR_RETURN(stores_.emplace_back(),
                               MakeStore(plan_.job, plan_.layout, plan_.steps_per_epoch, units,
                                         HeldBy(server), {}, memory, {}, {replicators_.back()}));
    }
    {
      MutexLock lock(&mutex_);
      TESSERA_RETURN_IF_ERROR(AdoptMapLocked());
    }
    for (const auto& replicator : replicators_) {
      if (replicator != nullptr) Start(replicator.get());
    }
    if (options_.give_kill) options_.give_kill([this](int server) { Kill(server); });
    if (options_.give_hand_over) options_.give_hand_over([this](int workers) { return HandOver(workers); });
    return absl::OkStatus();
  }

  // By shard, the servers that hold it, the primary first; and who runs what.
  void Place() {
    MutexLock lock(&mutex_);
    assignment_ = AssignReplicas(plan_.job.train.replicas, options_.workers);
    holders_.resize(plan_.layout.shards().size());
    const auto placement = PlaceShards(plan_.layout, options_.servers);
    for (int server = 0; server < options_.servers; ++server) {
      for (const ShardId shard : placement[server]) {
        for (int backup = 0; backup <= options_.backups; ++backup)
          holders_[shard].push_back((server + backup) % options_.servers);
      }
    }
  }

  std::vector<ShardId> HeldBy(int server, bool as_primary = false) {
    MutexLock lock(&mutex_);
    return HeldByLocked(server, as_primary);
  }
  std::vector<ShardId> HeldByLocked(int server, bool as_primary) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::vector<ShardId> held;
    for (size_t shard = 0; shard < holders_.size(); ++shard) {
      const auto end = as_primary ? holders_[shard].begin() + 1 : holders_[shard].end();
      if (std::find(holders_[shard].begin(), end, server) != end) held.push_back(static_cast<ShardId>(shard));
    }
    return held;
  }

  // On every server that lives.
  absl::Status AdoptMapLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::vector<NodeId> primary_of;
    for (const std::vector<int>& holders : holders_) primary_of.push_back(holders.front());
    for (int server = 0; server < options_.servers; ++server) {
      if (dead_.count(server) > 0) continue;
      std::map<ShardId, ShardDuty> duties;
      std::map<int, BackupPeer> peers;
      for (const ShardId shard : HeldByLocked(server, /*as_primary=*/false))
        duties[shard].role = ShardRole::kBackup;
      for (const ShardId shard : HeldByLocked(server, /*as_primary=*/true)) {
        const std::vector<int>& holders = holders_[shard];
        duties[shard] = {ShardRole::kPrimary, {holders.begin() + 1, holders.end()}, {}};
        for (const NodeId backup : duties[shard].backups) {
          peers[backup].node_id = backup;
          peers[backup].backups.push_back(shard);
        }
      }
      TESSERA_RETURN_IF_ERROR(stores_[server]->SetDuties(term_, duties));
      services_[server]->Adopt(stores_[server], term_, primary_of);
      if (replicators_[server] == nullptr) continue;
      std::vector<BackupPeer> all;
      for (auto& [node, peer] : peers) all.push_back(std::move(peer));
      replicators_[server]->SetMap(stores_[server], term_, /*rewind=*/0, std::move(all));
      services_[server]->OnOpen();
    }
    return absl::OkStatus();
  }

  void Kill(int server) {
    replicators_[server]->Close();
    services_[server]->Close();
    MutexLock lock(&mutex_);
    dead_.insert(server);
    ++term_;
    for (std::vector<int>& holders : holders_) std::erase(holders, server);
    const absl::Status adopted = AdoptMapLocked();
    for (const Listed* session : sessions_) session->Hear(adopted);
  }

  // As MapPlanner and WorkerSession do it.
  bool HandOver(int workers) {
    MutexLock lock(&mutex_);
    if (!IsSettledLocked()) return false;
    ++term_;
    const absl::Status adopted = AdoptMapLocked();
    Version newest = 0;
    for (const auto& store : stores_) newest = std::max(newest, store->NewestVersion());
    handover_ = std::min<Clock>(newest + kHandoverLead, plan_.total_steps);
    assignment_ = AssignReplicas(plan_.job.train.replicas, workers);
    for (Listed* session : sessions_) {
      if (RangeOfLocked(session->worker()) != session->local()) session->EndAt(handover_);
      session->Hear(adopted);
    }
    changed_.NotifyAll();
    return true;
  }

  std::optional<ReplicaRange> RangeOfLocked(int worker) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (static_cast<size_t>(worker) >= assignment_.size() || assignment_[worker].empty()) return std::nullopt;
    return ReplicaRange{assignment_[worker].front(), assignment_[worker].back()};
  }

  // Every worker runs what it is to run.
  bool IsSettledLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    size_t running = 0;
    for (const auto& replicas : assignment_) running += replicas.empty() ? 0 : 1;
    for (const Listed* session : sessions_) {
      if (RangeOfLocked(session->worker()) != session->local()) return false;
    }
    return sessions_.size() == running;
  }

  std::vector<ServerPeer> PeersLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::vector<ServerPeer> peers;
    for (int server = 0; server < options_.servers; ++server) {
      if (dead_.count(server) > 0) continue;
      peers.push_back({absl::StrCat("server ", server), server, HeldByLocked(server, /*as_primary=*/true)});
    }
    return peers;
  }

  std::shared_ptr<Replicator> MakeReplicator(int server) {
    ReplicatorOptions options{.node = absl::StrCat("server ", server), .node_id = server};
    options.first_wait = std::min(options_.first_wait, options.first_wait);
    options.on_open = [service = services_[server].get()] { service->OnOpen(); };
    return std::make_shared<Replicator>(std::move(options));
  }

  void Start(Replicator* replicator) {
    replicator->Start([this](const BackupPeer& peer, std::shared_ptr<ExchangeReceiver> receiver) {
      const auto sender =
          Connect(static_cast<size_t>(peer.node_id),
                  options_.wrap_receiver ? options_.wrap_receiver(receiver) : receiver, /*client=*/nullptr);
      return options_.wrap_sender ? options_.wrap_sender(sender) : sender;
    });
  }

  // The listener of the newest service, over gRPC; where its versions lie, if memory is shared.
  absl::StatusOr<VersionMemorySource> Listen() {
    if (options_.transport == ClusterTransport::kInProcess) return VersionMemorySource();
    TESSERA_ASSIGN_OR_RETURN(servers_.emplace_back(),
                             GrpcExchangeServer::Start({}, services_.back(), options_.server_threads));
    if (options_.transport == ClusterTransport::kGrpc) return VersionMemorySource();
    return [this](size_t bytes) {
      outboxes_.push_back(*Outbox::Create(bytes));
      servers_.back()->set_outbox(outboxes_.back());
      return outboxes_.back()->segment();
    };
  }

  std::shared_ptr<ExchangeSender> Connect(size_t server, std::shared_ptr<ExchangeReceiver> receiver,
                                          ExchangeClient* client) {
    if (client != nullptr) return client->Open(servers_[server]->address(), std::move(receiver));
    const InProcessNetwork::Connection connection = network_.Connect();
    network_.Start(connection, std::move(receiver), services_[server]->NewSession(connection.server));
    return connection.client;
  }

  // What a worker keeps over its sessions; members in order of construction.
  struct Device {
    std::unique_ptr<nn::Executor> executor;
    std::unique_ptr<BatchPrefetcher> train;
    std::unique_ptr<BatchLoader> test;
  };

  absl::StatusOr<Device> MakeDevice() {
    Device device;
    TESSERA_ASSIGN_OR_RETURN(device.executor,
                             nn::ExecutorRegistry::Create("device", plan_.job.device.kind, plan_.graph,
                                                          nn::ExecutorOptions{plan_.job.device.threads}));
    if (options_.wrap_executor) device.executor = options_.wrap_executor(std::move(device.executor));
    TESSERA_ASSIGN_OR_RETURN(Sampler sampler,
                             Sampler::Create(plan_.job.seed, data_.train->size(), plan_.job.train.replicas,
                                             plan_.job.train.batch_size));
    TESSERA_ASSIGN_OR_RETURN(const Normalization normalization,
                             MakeNormalization(plan_.job.data.normalize, *data_.train));
    TESSERA_ASSIGN_OR_RETURN(BatchLoader train_loader,
                             BatchLoader::Create(data_.train, normalization, MakeAugmentation(plan_.job)));
    device.train = std::make_unique<BatchPrefetcher>(std::move(sampler), train_loader);
    TESSERA_ASSIGN_OR_RETURN(
        BatchLoader test,
        BatchLoader::Create(data_.test == nullptr ? data_.train : data_.test, normalization));
    device.test = std::make_unique<BatchLoader>(std::move(test));
    return device;
  }

  // One session after the other, until the job is over.
  absl::Status RunWorker(int worker) {
    std::optional<Device> device;
    while (true) {
      const std::optional<ReplicaRange> local = AwaitReplicas(worker);
      if (!local.has_value()) return absl::OkStatus();
      if (!device.has_value()) {
        TESSERA_ASSIGN_OR_RETURN(device, MakeDevice());
      }
      const absl::StatusOr<bool> done = RunSession(worker, *local, *device);
      if (absl::IsAborted(done.status()) && options_.begin_again) continue;
      TESSERA_RETURN_IF_ERROR(done.status());
      if (*done) return absl::OkStatus();
    }
  }

  // Nothing: the job is over.
  std::optional<ReplicaRange> AwaitReplicas(int worker) {
    MutexLock lock(&mutex_);
    while (!over_ && !RangeOfLocked(worker).has_value()) changed_.WaitWithTimeout(&mutex_, absl::Seconds(60));
    return RangeOfLocked(worker);
  }

  // False: others go on with its replicas.
  absl::StatusOr<bool> RunSession(int worker, ReplicaRange local, const Device& device) {
    const TrainSpec& train = plan_.job.train;
    const std::vector<ReplicaRange> groups = LocalGroups(local, train.consistency.group);
    std::shared_ptr<Outbox> outbox;
    if (options_.transport == ClusterTransport::kGrpcSharedMemory) {
      TESSERA_ASSIGN_OR_RETURN(outbox, Outbox::Create(StepExchange::GradientBytes(
                                           plan_.graph->blocks(), groups, train.consistency.group)));
    }
    std::unique_ptr<ExchangeClient> transport;
    if (options_.transport != ClusterTransport::kInProcess)
      transport = std::make_unique<ExchangeClient>(outbox);
    TrainerOptions options;
    options.seed = plan_.job.seed;
    options.replicas = train.replicas;
    options.group = train.consistency.group;
    options.local = local;
    options.steps_per_epoch = plan_.steps_per_epoch;
    options.epochs = train.epochs;
    options.may_be_dropped = train.consistency.drop_stragglers > 0;
    options.clip_norm = train.clip_norm;
    options.test_samples = static_cast<uint32_t>(plan_.test_samples);
    options.patience = absl::Seconds(60);
    auto weights = std::make_shared<PulledWeights>(plan_.layout, groups, KeepOf(options));
    std::vector<ServerPeer> peers;
    ParameterClientOptions client_options;
    Clock handover = 0;
    {
      MutexLock lock(&mutex_);
      peers = PeersLocked();
      client_options.term = term_;
      handover = handover_;
    }
    client_options.node = absl::StrCat("worker ", worker);
    client_options.may_be_dropped = options.may_be_dropped;
    client_options.first_wait = options_.first_wait;
    client_options.lease = std::max(options_.first_wait, client_options.lease);
    TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<ParameterClient> client,
                             ParameterClient::Create(client_options, plan_.layout, peers, weights));
    Listed listed(this, client.get(), client_options.term, worker, local);
    TESSERA_RETURN_IF_ERROR(client->Connect(
        [&](const ServerPeer& server, std::shared_ptr<ExchangeReceiver> receiver) {
          const std::shared_ptr<ExchangeSender> sender =
              Connect(static_cast<size_t>(server.node_id),
                      options_.wrap_receiver ? options_.wrap_receiver(receiver) : receiver, transport.get());
          return options_.wrap_sender ? options_.wrap_sender(sender) : sender;
        },
        absl::Seconds(30)));
    for (ReplicaId replica = local.first; replica <= local.last; ++replica) {
      const ClockRange next = client->NextClock(replica);
      options.next_clocks.push_back({std::max(next.first, handover), std::max(next.last, handover)});
    }
    options.handed_over = handover > 0;
    Trainer trainer(options,
                    {plan_.graph, device.executor.get(), device.train.get(), device.test.get(), client.get(),
                     weights.get(), outbox == nullptr ? nullptr : outbox->segment()},
                    [this](Clock clock, absl::Span<const EvaluationChunk> chunks) {
                      MutexLock lock(&mutex_);
                      Take(clock, chunks);
                      return absl::OkStatus();
                    });
    listed.SetTrainer(&trainer);
    const absl::Status status = trainer.Run();
    MutexLock lock(&mutex_);
    listed.DropTrainer();
    result_.recomputed_steps += static_cast<int64_t>(trainer.progress().recomputed.size());
    result_.retries += client->retries();
    TESSERA_RETURN_IF_ERROR(status);
    result_.pushed_bytes += client->pushed_bytes();
    result_.pulled_bytes += client->pulled_bytes();
    if (outbox != nullptr) {
      result_.shared_memory_bytes += outbox->shared_bytes();
      result_.shared_memory_refused += outbox->segment()->refused();
    }
    result_.installed_bytes += weights->copied_bytes();
    for (const ReplicaTotals& totals : trainer.progress().replicas) {
      const Clock end = trainer.hands_over() ? listed.end() : plan_.total_steps;
      if (totals.clock != end) return absl::InternalError("a replica that did not finish");
      result_.dropped_by_replica[totals.replica] = totals.dropped;
    }
    return !trainer.hands_over();
  }

  // The first report of a chunk counts.
  void Take(Clock clock, absl::Span<const EvaluationChunk> chunks) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::vector<EvaluationChunk>& all = chunks_[clock];
    for (const EvaluationChunk& chunk : chunks) {
      const auto same = [&chunk](const EvaluationChunk& other) { return other.chunk == chunk.chunk; };
      if (std::none_of(all.begin(), all.end(), same)) all.push_back(chunk);
    }
  }

  absl::Status Collect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::vector<SharedTensor> by_shard(plan_.layout.shards().size());
    result_.applied_min = std::numeric_limits<int64_t>::max();
    for (int server = 0; server < options_.servers; ++server) {
      if (dead_.count(server) > 0) continue;
      if (!outboxes_.empty()) result_.shared_memory_refused += outboxes_[server]->segment()->refused();
      result_.accumulated_bytes += services_[server]->store()->copied_bytes();
      AddCounters(*services_[server]->store());
      for (ShardId shard : HeldByLocked(server, /*as_primary=*/true)) {
        TESSERA_ASSIGN_OR_RETURN(const ShardVersion latest, services_[server]->store()->Latest(shard));
        const Version updates =
            plan_.total_steps * (plan_.job.train.replicas / plan_.job.train.consistency.group);
        if (latest.version != updates) {
          return absl::InternalError(absl::StrCat("shard ", shard, " has version ", latest.version));
        }
        by_shard[static_cast<size_t>(shard)] = latest.weights;
      }
    }
    TESSERA_ASSIGN_OR_RETURN(result_.tensors, AssembleTensors(plan_.layout, by_shard));
    return absl::OkStatus();
  }

  void AddCounters(const ParameterStore& store) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const StalenessStats staleness = store.staleness();
    result_.replica_pushes += staleness.pushes;
    result_.staleness_sum += staleness.sum;
    result_.staleness_max = std::max(result_.staleness_max, staleness.max);
    result_.clock_lead_max = std::max(result_.clock_lead_max, staleness.clock_lead_max);
    result_.dropped += store.dropped();
    for (const auto& [least, most] : store.AppliedRange()) {
      result_.applied_min = std::min(result_.applied_min, least);
      result_.applied_max = std::max(result_.applied_max, most);
    }
  }

  const JobPlan& plan_;
  const JobData& data_;
  const InProcessOptions options_;
  std::vector<std::shared_ptr<ParameterService>> services_;
  std::vector<std::shared_ptr<Outbox>> outboxes_;             // of the servers, if memory is shared
  std::vector<std::unique_ptr<GrpcExchangeServer>> servers_;  // over gRPC
  std::vector<std::shared_ptr<ParameterStore>> stores_;
  std::vector<std::shared_ptr<Replicator>> replicators_;  // null without backups
  Mutex mutex_;
  int64_t term_ ABSL_GUARDED_BY(mutex_) = 1;
  std::vector<std::vector<int>> holders_ ABSL_GUARDED_BY(mutex_);  // by shard, the primary first
  std::set<int> dead_ ABSL_GUARDED_BY(mutex_);
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::vector<ReplicaId>> assignment_ ABSL_GUARDED_BY(mutex_);  // by worker
  Clock handover_ ABSL_GUARDED_BY(mutex_) = 0;                              // from which on it is so
  std::vector<Listed*> sessions_ ABSL_GUARDED_BY(mutex_);                   // of workers that run
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  CondVar changed_;
  std::map<Clock, std::vector<EvaluationChunk>> chunks_ ABSL_GUARDED_BY(mutex_);
  InProcessResult result_ ABSL_GUARDED_BY(mutex_);
  InProcessNetwork network_;  // last: its thread ends first
};

}  // namespace

absl::StatusOr<InProcessResult> RunInProcess(const JobPlan& plan, const JobData& data,
                                             const InProcessOptions& options) {
  return Cluster(plan, data, options).Run();
}

}  // namespace tessera

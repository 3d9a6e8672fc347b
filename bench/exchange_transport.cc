#include "bench/exchange_transport.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/child_process.h"
#include "common/mutex.h"
#include "common/rpc/exchange_client.h"
#include "common/shared_memory/outbox.h"
#include "common/status.h"
#include "server/grpc_exchange_server.h"
#include "server/parameter_service.h"
#include "worker/parameter_client.h"
#include "worker/pulled_weights.h"

namespace tessera::bench {
namespace {

using Direction = ExchangeOptions::Direction;

constexpr int64_t kMaxLayerBytes = 4 << 20;
constexpr absl::Duration kPatience = absl::Seconds(20);
constexpr int64_t kTerm = 1;
constexpr size_t kAddressBytes = 64;

absl::StatusOr<ShardLayout> MakeLayout(const ExchangeOptions& options) {
  std::vector<ParameterBlock> blocks;
  for (int64_t left = options.model_bytes; left > 0; left -= kMaxLayerBytes) {
    const std::string name = absl::StrCat("layer", blocks.size());
    const int64_t length = std::min(left, kMaxLayerBytes) / static_cast<int64_t>(sizeof(float));
    blocks.push_back(
        {name, ParameterKind::kWeight, {{name + ".weight", {1, length}, ParameterKind::kWeight, {}}}});
  }
  return ShardLayout::Create(std::move(blocks), options.shard_bytes);
}

// What the client's gradients take in its outbox.
size_t GradientBytes(const ShardLayout& layout) {
  constexpr size_t kAlignment = 64;
  return static_cast<size_t>(layout.total_bytes()) + layout.blocks().size() * kAlignment;
}

std::vector<ShardId> AllShards(const ShardLayout& layout) {
  std::vector<ShardId> ids;
  for (const Shard& shard : layout.shards()) ids.push_back(shard.id);
  return ids;
}

// Versions lie in what `memory_of(bytes)` gives, or on the heap.
using MemorySource = std::function<absl::StatusOr<std::shared_ptr<TensorMemory>>(size_t bytes)>;

absl::StatusOr<std::shared_ptr<ParameterStore>> MakeStore(const ExchangeOptions& options,
                                                          const MemorySource& memory_of) {
  TESSERA_ASSIGN_OR_RETURN(const ShardLayout layout, MakeLayout(options));
  ParameterStoreOptions store;
  store.consistency = {.replicas = 1, .group = 1};
  TESSERA_ASSIGN_OR_RETURN(store.optimizer,
                           OptimizerRegistry::Create("optimizer", options.optimizer, {{"lr", "0.01"}}));
  TESSERA_ASSIGN_OR_RETURN(store.schedule, CreateSchedule("constant", {}, {}));
  TESSERA_ASSIGN_OR_RETURN(store.version_memory,
                           memory_of(ParameterStore::VersionBytes(store, layout, AllShards(layout))));
  return ParameterStore::Create(std::move(store), layout, AllShards(layout));
}

// Gives `service` its store; its versions go by reference where memory is shared.
absl::Status OpenStore(const ExchangeOptions& options, GrpcExchangeServer* server,
                       ParameterService* service) {
  const MemorySource memory = [&](size_t bytes) -> absl::StatusOr<std::shared_ptr<TensorMemory>> {
    if (!options.shared_memory) return nullptr;
    TESSERA_ASSIGN_OR_RETURN(const std::shared_ptr<Outbox> outbox, Outbox::Create(bytes));
    server->set_outbox(outbox);
    return outbox->segment();
  };
  TESSERA_ASSIGN_OR_RETURN(std::shared_ptr<ParameterStore> store, MakeStore(options, memory));
  service->Adopt(std::move(store), kTerm);
  return absl::OkStatus();
}

// The child: tells its address, or what is wrong, and serves until the other end of `socket` is closed.
void Serve(const ExchangeOptions& options, int socket) {
  const std::shared_ptr<ParameterService> service = ParameterService::Create();
  auto server = GrpcExchangeServer::Start({}, service, /*threads=*/1);
  const absl::Status status =
      server.ok() ? OpenStore(options, server->get(), service.get()) : server.status();
  char answer[kAddressBytes] = {};
  const std::string text = status.ok() ? (*server)->address() : absl::StrCat("!", status.message());
  text.copy(answer, sizeof(answer) - 1);
  if (!WriteAll(socket, answer, sizeof(answer)).ok() || !status.ok()) return;
  char end = 0;
  ReadAll(socket, &end, 1).IgnoreError();
  (*server)->Shutdown();
}

absl::StatusOr<std::string> ServerAddress(int socket) {
  char answer[kAddressBytes] = {};
  TESSERA_RETURN_IF_ERROR(ReadAll(socket, answer, sizeof(answer)));
  if (answer[0] == '!') return absl::InvalidArgumentError(answer + 1);
  return std::string(answer);
}

// Counts acknowledgements on their way to the client.
class AckCounter : public ExchangeReceiver {
 public:
  explicit AckCounter(std::shared_ptr<ExchangeReceiver> client) : client_(std::move(client)) {}

  void OnMessage(ExchangeMessage message) override {
    if (message.kind == MessageKind::kAck) {
      MutexLock lock(&mutex_);
      ++acks_;
      changed_.NotifyAll();
    }
    client_->OnMessage(std::move(message));
  }
  void OnClosed(absl::Status reason) override { client_->OnClosed(std::move(reason)); }

  absl::Status WaitFor(int64_t acks) {
    const absl::Time deadline = absl::Now() + kPatience;
    MutexLock lock(&mutex_);
    while (acks_ < acks && absl::Now() < deadline) changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
    return acks_ >= acks ? absl::OkStatus() : absl::DeadlineExceededError("acknowledgements did not come");
  }

 private:
  const std::shared_ptr<ExchangeReceiver> client_;
  Mutex mutex_;
  CondVar changed_;
  int64_t acks_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Reads ask for the newest version at once: without pushes no later one would come.
class LatestReads : public ExchangeSender {
 public:
  explicit LatestReads(std::shared_ptr<ExchangeSender> sender) : sender_(std::move(sender)) {}
  void Send(ExchangeMessage message, int priority) override {
    message.latest = message.kind == MessageKind::kRead;
    sender_->Send(std::move(message), priority);
  }
  void Flush() override { sender_->Flush(); }
  void Grant(int64_t bytes) override { sender_->Grant(bytes); }
  void Close(absl::Status reason) override { sender_->Close(std::move(reason)); }

 private:
  const std::shared_ptr<ExchangeSender> sender_;
};

// The client's side: begins rounds and waits for their ends, in order.
class Rounds {
 public:
  static absl::StatusOr<std::unique_ptr<Rounds>> Connect(const ExchangeOptions& options,
                                                         const std::string& address) {
    TESSERA_ASSIGN_OR_RETURN(ShardLayout layout, MakeLayout(options));
    std::shared_ptr<Outbox> outbox;
    if (options.shared_memory) {
      TESSERA_ASSIGN_OR_RETURN(outbox, Outbox::Create(GradientBytes(layout)));
    }
    std::unique_ptr<Rounds> rounds(new Rounds(options, std::move(layout), std::move(outbox)));
    TESSERA_RETURN_IF_ERROR(rounds->Open(address));
    return rounds;
  }
  ~Rounds() { client_->Close(); }

  void Begin(Clock clock) {
    if (options_.direction == Direction::kPull) return client_->Request(0, clock, /*settled=*/false);
    const PushReply reply =
        options_.direction == Direction::kPush ? PushReply::kAcknowledgement : PushReply::kWeights;
    for (int block = static_cast<int>(layout_.blocks().size()); block-- > 0;) {  // as backward makes them
      client_->Push(0, block, {0, 0}, clock, gradients_[static_cast<size_t>(block)], reply);
    }
    client_->Flush();
  }

  absl::Status AwaitEnd(Clock clock) {
    if (options_.direction == Direction::kPush) {
      return acks_->WaitFor((clock + 1) * static_cast<int64_t>(layout_.shards().size()));
    }
    TESSERA_RETURN_IF_ERROR(AwaitWeights(options_.direction == Direction::kPull ? clock : clock + 1));
    weights_->Release(0, clock);  // as after a step
    return absl::OkStatus();
  }

  int64_t bytes() const {
    return layout_.total_bytes() * (options_.direction == Direction::kExchange ? 2 : 1);
  }

  // Errors: kUnavailable, memory was to be shared, and a tensor went as bytes.
  absl::Status CheckPath() const {
    const int64_t all = client_->pushed_bytes() + client_->pulled_bytes();
    if (outbox_ == nullptr || outbox_->shared_bytes() == all) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat(outbox_->shared_bytes(), " of ", all, " bytes went through shared memory"));
  }

  // The first weights: what a push names as computed on, at even and at odd clocks.
  absl::Status Start() {
    client_->Request(0, 0, /*settled=*/false);
    TESSERA_RETURN_IF_ERROR(AwaitWeights(0));
    if (options_.direction != Direction::kPush) return absl::OkStatus();
    client_->Request(0, 1, /*settled=*/false);
    return AwaitWeights(1);
  }

 private:
  Rounds(const ExchangeOptions& options, ShardLayout layout, std::shared_ptr<Outbox> outbox)
      : options_(options),
        layout_(std::move(layout)),
        weights_(std::make_shared<PulledWeights>(
            layout_, std::vector<ReplicaRange>{{0, 0}},
            options.shared_memory ? PulledWeights::Keep::kInPlace : PulledWeights::Keep::kCopies)),
        outbox_(std::move(outbox)),
        transport_(outbox_) {
    BufferPool pool(0, outbox_ == nullptr ? nullptr : outbox_->segment());
    for (const ParameterBlock& block : layout_.blocks()) {
      const std::shared_ptr<TensorBuffer> gradient = pool.Take(static_cast<size_t>(block.num_elements()));
      std::fill_n(gradient->data(), gradient->size(), 1e-3F);
      gradients_.push_back(gradient);
    }
  }

  absl::Status Open(const std::string& address) {
    ServerPeer peer{"the server", 1, AllShards(layout_)};
    TESSERA_ASSIGN_OR_RETURN(client_,
                             ParameterClient::Create({"the client", kTerm}, layout_, {peer}, weights_));
    return client_->Connect(
        [&](const ServerPeer&,
            std::shared_ptr<ExchangeReceiver> receiver) -> std::shared_ptr<ExchangeSender> {
          acks_ = std::make_shared<AckCounter>(std::move(receiver));
          std::shared_ptr<ExchangeSender> sender = transport_.Open(address, acks_);
          if (options_.direction == Direction::kExchange) return sender;
          return std::make_shared<LatestReads>(std::move(sender));
        },
        kPatience);
  }

  absl::Status AwaitWeights(Clock clock) {
    for (size_t block = 0; block < layout_.blocks().size(); ++block) {
      TESSERA_RETURN_IF_ERROR(
          weights_->Wait(0, static_cast<int>(block), clock, absl::Now() + kPatience).status());
    }
    return absl::OkStatus();
  }

  const ExchangeOptions options_;
  const ShardLayout layout_;
  const std::shared_ptr<PulledWeights> weights_;
  const std::shared_ptr<Outbox> outbox_;  // null: all goes over TCP
  std::vector<std::shared_ptr<const TensorBuffer>> gradients_;
  ExchangeClient transport_;
  std::shared_ptr<AckCounter> acks_;
  std::unique_ptr<ParameterClient> client_;
};

// Rounds from `clock` on for `duration`, some under way at once; returns bytes a second, and moves `clock`
// on.
absl::StatusOr<double> Measure(Rounds* rounds, int under_way, absl::Duration duration, Clock* clock) {
  const Clock first = *clock;
  const absl::Time start = absl::Now();
  for (; absl::Now() < start + duration || *clock < first + under_way; ++*clock) {
    if (*clock - under_way >= first) TESSERA_RETURN_IF_ERROR(rounds->AwaitEnd(*clock - under_way));
    rounds->Begin(*clock);
  }
  TESSERA_RETURN_IF_ERROR(rounds->AwaitEnd(*clock - 1));
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  return static_cast<double>((*clock - first) * rounds->bytes()) / seconds;
}

}  // namespace

absl::StatusOr<double> ExchangeRate(const ExchangeOptions& options) {
  TESSERA_ASSIGN_OR_RETURN(const ChildProcess server,
                           ChildProcess::Start([&](int socket) { Serve(options, socket); }));
  TESSERA_ASSIGN_OR_RETURN(const std::string address, ServerAddress(server.socket()));
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<Rounds> rounds, Rounds::Connect(options, address));
  TESSERA_RETURN_IF_ERROR(rounds->Start());
  // An exchange needs the weights of a round before it pushes the next.
  const int under_way = options.direction == Direction::kExchange ? 1 : options.rounds_under_way;
  Clock clock = options.direction == Direction::kPull ? 1 : 0;
  TESSERA_RETURN_IF_ERROR(
      Measure(rounds.get(), under_way, options.duration / 4, &clock).status());  // warm-up
  TESSERA_ASSIGN_OR_RETURN(const double rate, Measure(rounds.get(), under_way, options.duration, &clock));
  TESSERA_RETURN_IF_ERROR(rounds->CheckPath());
  return rate;
}

}  // namespace tessera::bench

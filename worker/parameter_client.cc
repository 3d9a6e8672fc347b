#include "worker/parameter_client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/protocol.h"
#include "common/status.h"
#include "common/trace/exchange_trace.h"

namespace tessera {

// One server. Outlives the client by as long as its connection ends: `client_` is cleared first.
class ParameterClient::Peer : public ExchangeReceiver {
 public:
  Peer(ParameterClient* client, ServerPeer peer) : peer_(std::move(peer)), client_(client) {}

  const ServerPeer& peer() const { return peer_; }
  void set_sender(std::shared_ptr<ExchangeSender> sender) {
    MutexLock lock(&mutex_);
    sender_ = std::move(sender);
  }

  void Send(ExchangeMessage message, int priority = 0) {
    std::shared_ptr<ExchangeSender> sender;
    {
      MutexLock lock(&mutex_);
      sender = sender_;
    }
    sender->Send(std::move(message), priority);
  }

  void Flush() {
    std::shared_ptr<ExchangeSender> sender;
    {
      MutexLock lock(&mutex_);
      sender = sender_;
    }
    sender->Flush();
  }

  // No call into the client is under way or follows after this returns.
  void Close() {
    std::shared_ptr<ExchangeSender> sender;
    {
      MutexLock lock(&mutex_);
      client_ = nullptr;
      sender = sender_;
    }
    if (sender != nullptr) sender->Close(absl::OkStatus());
  }

  void OnMessage(ExchangeMessage message) override {
    MutexLock lock(&mutex_);
    if (client_ == nullptr) return;
    if (sender_ == nullptr) return FailLocked(absl::InternalError("a message before our hello"));
    switch (message.kind) {
      case MessageKind::kHello:
        return OnHelloLocked(message);
      case MessageKind::kWeights:
        return OnWeightsLocked(message);
      case MessageKind::kAck:
        return;
      case MessageKind::kDropped:
        return OnDroppedLocked(message);
      case MessageKind::kError:
        return FailLocked(message.error);
      default:
        return FailLocked(absl::InternalError("a message that only workers send"));
    }
  }

  void OnClosed(absl::Status reason) override {
    MutexLock lock(&mutex_);
    if (client_ == nullptr) return;
    client_->OnLost(peer_, reason.ok() ? absl::UnavailableError("it ended the connection") : reason);
  }

 private:
  void OnHelloLocked(const ExchangeMessage& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    absl::Status status;
    if (message.protocol_version != kProtocolVersion) {
      status = absl::FailedPreconditionError(absl::StrCat(
          peer_.name, " speaks protocol ", message.protocol_version, ", this worker ", kProtocolVersion));
    }
    client_->OnHello(std::move(status));
  }

  void OnWeightsLocked(const ExchangeMessage& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto bytes = static_cast<int64_t>(message.tensor.size_bytes());
    {
      MutexLock lock(&client_->mutex_);
      client_->pulled_bytes_ += bytes;  // first: who waits for these weights may ask for the count next
    }
    const absl::Status status = InstallLocked(message);
    if (!status.ok()) return FailLocked(status);
    sender_->Grant(bytes);
  }

  absl::Status InstallLocked(const ExchangeMessage& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const TraceSpan span(peer_.trace, TraceKind::kInstall, ArgsOf(message));
    return client_->weights_->Install(message.shard, message.replicas, message.clock, message.version,
                                      message.tensor);
  }

  void OnDroppedLocked(const ExchangeMessage& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!client_->options_.may_be_dropped) {
      return FailLocked(absl::InternalError("it dropped a push, but the job drops nobody"));
    }
    const absl::Status status =
        client_->weights_->Drop(message.shard, message.replicas, message.clock, message.version);
    if (!status.ok()) FailLocked(status);
  }

  void FailLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    client_->Fail(Annotate(status, peer_.name));
  }

  const ServerPeer peer_;
  Mutex mutex_;  // taken before the client's
  std::shared_ptr<ExchangeSender> sender_ ABSL_GUARDED_BY(mutex_);
  ParameterClient* client_ ABSL_GUARDED_BY(mutex_);
};

absl::StatusOr<std::unique_ptr<ParameterClient>> ParameterClient::Create(
    ParameterClientOptions options, ShardLayout layout, std::vector<ServerPeer> servers,
    std::shared_ptr<PulledWeights> weights) {
  std::unique_ptr<ParameterClient> client(
      new ParameterClient(std::move(options), std::move(layout), std::move(weights)));
  client->primary_.resize(client->layout_.shards().size(), nullptr);
  for (ServerPeer& server : servers) {
    auto peer = std::make_shared<Peer>(client.get(), std::move(server));
    for (ShardId shard : peer->peer().shards) {
      if (shard < 0 || static_cast<size_t>(shard) >= client->primary_.size()) {
        return absl::InvalidArgumentError(absl::StrCat("the shard map names an unknown shard, ", shard));
      }
      Peer*& primary = client->primary_[static_cast<size_t>(shard)];
      if (primary != nullptr)
        return absl::InvalidArgumentError(absl::StrCat("two servers hold shard ", shard));
      primary = peer.get();
    }
    client->peers_.push_back(std::move(peer));
  }
  const auto orphan = std::find(client->primary_.begin(), client->primary_.end(), nullptr);
  if (orphan != client->primary_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("no server holds shard ", orphan - client->primary_.begin()));
  }
  return client;
}

ParameterClient::ParameterClient(ParameterClientOptions options, ShardLayout layout,
                                 std::shared_ptr<PulledWeights> weights)
    : options_(std::move(options)), layout_(std::move(layout)), weights_(std::move(weights)) {}

ParameterClient::~ParameterClient() { Close(); }

void ParameterClient::Close() {
  for (const std::shared_ptr<Peer>& peer : peers_) peer->Close();
}

absl::Status ParameterClient::Connect(const Opener& opener, absl::Duration timeout) {
  ExchangeMessage hello;
  hello.kind = MessageKind::kHello;
  hello.protocol_version = kProtocolVersion;
  hello.node = options_.node;
  hello.term = options_.term;
  int64_t largest = 0;
  for (const Shard& shard : layout_.shards()) largest = std::max(largest, shard.bytes());
  hello.credit_bytes = CreditWindow(largest);
  for (size_t server = 0; server < peers_.size(); ++server) {
    peers_[server]->set_sender(opener(server, peers_[server]));
    peers_[server]->Send(hello);
  }
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mutex_);
  while (failure_.ok() && greeted_ < peers_.size() && absl::Now() < deadline) {
    changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
  }
  if (!failure_.ok()) return failure_;
  if (greeted_ == peers_.size()) return absl::OkStatus();
  return absl::DeadlineExceededError(absl::StrCat(peers_.size() - greeted_, " of ", peers_.size(),
                                                  " servers did not answer within ",
                                                  absl::FormatDuration(timeout)));
}

void ParameterClient::Request(int group, Clock clock, bool settled) {
  for (size_t block = 0; block < layout_.blocks().size(); ++block) {
    weights_->Expect(group, static_cast<int>(block), clock);
  }
  const ReplicaRange replicas = weights_->groups()[static_cast<size_t>(group)];
  for (const Shard& shard : layout_.shards()) {
    if (weights_->Has(group, shard.id, clock)) continue;
    ExchangeMessage read = Header(MessageKind::kRead, shard.id, replicas, clock);
    read.settled = settled;
    read.may_wait = true;
    primary_[static_cast<size_t>(shard.id)]->Send(std::move(read));
  }
  Flush();
}

void ParameterClient::Push(int group, int block, ReplicaRange replicas, Clock clock,
                           std::shared_ptr<const TensorBuffer> gradient, PushReply reply) {
  if (reply != PushReply::kAcknowledgement) weights_->Expect(group, block, clock + 1);
  int64_t bytes = 0;
  for (ShardId id : layout_.ShardsOfBlock(block)) bytes += layout_.shards()[static_cast<size_t>(id)].bytes();
  bool flush = false;
  {
    MutexLock lock(&mutex_);
    pushed_bytes_ += bytes;
    waiting_bytes_ += bytes;
    flush = waiting_bytes_ >= kPushTogether;
  }
  for (ShardId id : layout_.ShardsOfBlock(block)) {
    const Shard& shard = layout_.shards()[static_cast<size_t>(id)];
    ExchangeMessage push = Header(MessageKind::kPush, id, replicas, clock);
    push.version = weights_->version(group, id, clock);
    push.wants_weights = reply != PushReply::kAcknowledgement;
    push.settled = reply == PushReply::kSettledWeights;
    push.tensor = TensorBytes(gradient, static_cast<size_t>(shard.offset), static_cast<size_t>(shard.length));
    push.may_wait = true;
    primary_[static_cast<size_t>(id)]->Send(std::move(push), id);
  }
  if (flush) Flush();
}

void ParameterClient::Flush() {
  {
    MutexLock lock(&mutex_);
    waiting_bytes_ = 0;
  }
  for (const std::shared_ptr<Peer>& peer : peers_) peer->Flush();
}

ExchangeMessage ParameterClient::Header(MessageKind kind, ShardId shard, ReplicaRange replicas,
                                        Clock clock) const {
  ExchangeMessage message;
  message.kind = kind;
  message.shard = shard;
  message.replicas = replicas;
  message.clock = clock;
  message.term = options_.term;
  return message;
}

void ParameterClient::Fail(absl::Status status) {
  MutexLock lock(&mutex_);
  if (!failure_.ok()) return;
  failure_ = status;
  weights_->Fail(std::move(status));
  changed_.NotifyAll();
}

void ParameterClient::set_on_lost(std::function<void(const ServerPeer&)> on_lost) {
  MutexLock lock(&mutex_);
  on_lost_ = std::move(on_lost);
}

void ParameterClient::OnHello(absl::Status status) {
  if (!status.ok()) return Fail(std::move(status));
  MutexLock lock(&mutex_);
  ++greeted_;
  changed_.NotifyAll();
}

void ParameterClient::OnLost(const ServerPeer& peer, const absl::Status& reason) {
  // Whatever code the transport gave, to us it is a server that cannot be reached.
  const absl::Status failure =
      absl::UnavailableError(absl::StrCat("lost ", peer.name, ": ", reason.message()));
  std::function<void(const ServerPeer&)> on_lost;
  {
    MutexLock lock(&mutex_);
    if (!failure_.ok()) return;
    on_lost = on_lost_;
  }
  if (on_lost) on_lost(peer);  // first: who is woken by the failure asks for it
  Fail(failure);
}

int64_t ParameterClient::pushed_bytes() const {
  MutexLock lock(&mutex_);
  return pushed_bytes_;
}

int64_t ParameterClient::pulled_bytes() const {
  MutexLock lock(&mutex_);
  return pulled_bytes_;
}

}  // namespace tessera

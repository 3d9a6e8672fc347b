#include "worker/parameter_client.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/protocol.h"
#include "common/status.h"
#include "common/trace/exchange_trace.h"

namespace tessera {
namespace {

// Between two connections to one server.
constexpr absl::Duration kFirstBackoff = absl::Milliseconds(20);
constexpr absl::Duration kLongestBackoff = absl::Seconds(1);
// The client's thread is woken by what happens; this only bounds its waits.
constexpr absl::Duration kLongestWait = absl::Minutes(1);

}  // namespace

// One connection. Outlives the client by as long as it takes to end: `client_` is cleared first.
class ParameterClient::Link : public ExchangeReceiver {
 public:
  Link(ParameterClient* client, const ServerPeer& server)
      : name_(server.name), trace_(server.trace), rewind_(client->options_.rewind), client_(client) {}

  // What is sent on it; `sender` is closed if the link is.
  void Begin(const std::shared_ptr<ExchangeSender>& sender, ExchangeMessage hello) {
    bool closed = false;
    {
      MutexLock lock(&mutex_);
      closed = client_ == nullptr;
      if (!closed) sender_ = sender;
    }
    if (closed) return sender->Close(absl::OkStatus());
    sender->Send(std::move(hello));
  }

  // No call into the client is under way or follows after this returns.
  void Close() {
    std::shared_ptr<ExchangeSender> sender;
    {
      MutexLock lock(&mutex_);
      client_ = nullptr;
      sender = std::move(sender_);
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
      case MessageKind::kAck:      // the gradient is kept until its round has been applied
      case MessageKind::kPending:  // is asked about again
        return;
      case MessageKind::kUnknown:
        return client_->OnUnknown(message);
      case MessageKind::kDropped:
        return OnDroppedLocked(message);
      case MessageKind::kError:
        return OnErrorLocked(message);
      default:
        return FailLocked(absl::InternalError("a message that only workers send"));
    }
  }

  void OnClosed(absl::Status reason) override {
    MutexLock lock(&mutex_);
    if (client_ == nullptr) return;
    // Whatever else the transport says, it is a server that cannot be reached now.
    if (absl::IsFailedPrecondition(reason)) return FailLocked(reason);
    client_->OnClosed(this, reason.ok() ? absl::UnavailableError("it ended the connection") : reason);
  }

 private:
  void OnHelloLocked(const ExchangeMessage& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (message.protocol_version != kProtocolVersion) {
      return client_->Fail(absl::FailedPreconditionError(absl::StrCat(
          name_, " speaks protocol ", message.protocol_version, ", this worker ", kProtocolVersion)));
    }
    client_->OnHello(this, sender_, message);
  }

  void OnWeightsLocked(const ExchangeMessage& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto bytes = static_cast<int64_t>(message.tensor.size_bytes());
    if (message.rewind == rewind_) {
      client_->OnWeights(message);  // first: who waits for these weights may ask for the count next
      const absl::Status status = InstallLocked(message);
      if (!status.ok()) return FailLocked(status);
    }
    sender_->Grant(bytes);
  }

  absl::Status InstallLocked(const ExchangeMessage& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const TraceSpan span(trace_, TraceKind::kInstall, ArgsOf(message));
    return client_->weights_->Install(message.shard, message.replicas, message.clock, message.version,
                                      message.tensor);
  }

  void OnDroppedLocked(const ExchangeMessage& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (message.rewind != rewind_) return;
    if (!client_->options_.may_be_dropped) {
      return FailLocked(absl::InternalError("it dropped a push, but the job drops nobody"));
    }
    client_->OnDropped(message);
    const absl::Status status =
        client_->weights_->Drop(message.shard, message.replicas, message.clock, message.version);
    if (!status.ok()) FailLocked(status);
  }

  void OnErrorLocked(const ExchangeMessage& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (absl::IsAborted(message.error)) return client_->OnStale();
    if (absl::IsUnavailable(message.error)) return client_->OnUnavailable(message);
    FailLocked(message.error);
  }

  void FailLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    client_->Fail(Annotate(status, name_));
  }

  const std::string name_;
  const TraceTrack trace_;
  const int64_t rewind_;
  Mutex mutex_;  // taken before the client's
  std::shared_ptr<ExchangeSender> sender_ ABSL_GUARDED_BY(mutex_);
  ParameterClient* client_ ABSL_GUARDED_BY(mutex_);
};

absl::StatusOr<std::unique_ptr<ParameterClient>> ParameterClient::Create(
    ParameterClientOptions options, ShardLayout layout, std::vector<ServerPeer> servers,
    std::shared_ptr<PulledWeights> weights) {
  std::unique_ptr<ParameterClient> client(
      new ParameterClient(std::move(options), std::move(layout), std::move(weights)));
  TESSERA_ASSIGN_OR_RETURN(const std::vector<size_t> primary, client->Place(servers));
  MutexLock lock(&client->mutex_);
  client->SetServersLocked(std::move(servers), primary);
  return client;
}

ParameterClient::ParameterClient(ParameterClientOptions options, ShardLayout layout,
                                 std::shared_ptr<PulledWeights> weights)
    : options_(std::move(options)),
      layout_(std::move(layout)),
      weights_(std::move(weights)),
      requests_(layout_, weights_->groups(), {options_.first_wait, options_.lease}),
      random_(std::random_device{}()),
      term_(options_.term) {}

ParameterClient::~ParameterClient() { Close(); }

void ParameterClient::Close() {
  {
    MutexLock lock(&mutex_);
    closing_ = true;
    work_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  std::vector<std::shared_ptr<Link>> links;
  {
    MutexLock lock(&mutex_);
    links.swap(retired_);
    for (const std::unique_ptr<Peer>& peer : peers_) {
      peer->sender = nullptr;
      if (peer->link != nullptr) links.push_back(std::move(peer->link));
    }
  }
  for (const std::shared_ptr<Link>& link : links) link->Close();
}

absl::StatusOr<std::vector<size_t>> ParameterClient::Place(const std::vector<ServerPeer>& servers) const {
  const size_t none = servers.size();
  std::vector<size_t> primary(layout_.shards().size(), none);
  for (size_t server = 0; server < servers.size(); ++server) {
    for (ShardId shard : servers[server].shards) {
      if (shard < 0 || static_cast<size_t>(shard) >= primary.size()) {
        return absl::InvalidArgumentError(absl::StrCat("the shard map names an unknown shard, ", shard));
      }
      size_t& found = primary[static_cast<size_t>(shard)];
      if (found != none) return absl::InvalidArgumentError(absl::StrCat("two servers hold shard ", shard));
      found = server;
    }
  }
  const auto orphan = std::find(primary.begin(), primary.end(), none);
  if (orphan == primary.end()) return primary;
  return absl::InvalidArgumentError(absl::StrCat("no server holds shard ", orphan - primary.begin()));
}

void ParameterClient::SetServersLocked(std::vector<ServerPeer> servers, const std::vector<size_t>& primary) {
  std::vector<std::unique_ptr<Peer>> peers;
  for (ServerPeer& server : servers) peers.push_back(TakePeerLocked(std::move(server)));
  for (const std::unique_ptr<Peer>& gone : peers_) {
    if (gone != nullptr && gone->link != nullptr) retired_.push_back(std::move(gone->link));
  }
  peers_ = std::move(peers);
  primary_.clear();
  for (size_t server : primary) primary_.push_back(peers_[server].get());
}

// The one that is there already, with its connection, or a new one.
std::unique_ptr<ParameterClient::Peer> ParameterClient::TakePeerLocked(ServerPeer server) {
  for (std::unique_ptr<Peer>& peer : peers_) {
    if (peer == nullptr || peer->server.node_id != server.node_id || peer->server.address != server.address) {
      continue;
    }
    peer->server = std::move(server);
    return std::move(peer);
  }
  auto peer = std::make_unique<Peer>();
  peer->server = std::move(server);
  peer->backoff = kFirstBackoff;
  peer->lost_since = absl::Now();
  return peer;
}

absl::Status ParameterClient::Connect(Opener opener, absl::Duration timeout) {
  opener_ = std::move(opener);
  thread_ = std::thread([this] { Run(); });
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mutex_);
  while (failure_.ok() && !ConnectedLocked() && absl::Now() < deadline) {
    changed_.WaitWithTimeout(&mutex_, std::min(deadline - absl::Now(), kLongestWait));
  }
  if (!failure_.ok()) return failure_;
  if (!ConnectedLocked()) {
    return absl::DeadlineExceededError(
        absl::StrCat(MissingLocked(), " did not answer within ", absl::FormatDuration(timeout)));
  }
  next_clocks_ = NextClocksLocked();
  return absl::OkStatus();
}

bool ParameterClient::ConnectedLocked() const {
  return std::all_of(peers_.begin(), peers_.end(), [](const auto& peer) { return peer->sender != nullptr; });
}

std::string ParameterClient::MissingLocked() const {
  std::string missing;
  for (const std::unique_ptr<Peer>& peer : peers_) {
    if (peer->sender != nullptr) continue;
    absl::StrAppend(&missing, missing.empty() ? "" : ", ", peer->server.name,
                    peer->reason.empty() ? "" : ": ", peer->reason);
  }
  return missing;
}

ClockRange ParameterClient::NextClock(ReplicaId replica) const {
  MutexLock lock(&mutex_);
  const bool told = static_cast<size_t>(replica) < next_clocks_.size();
  return told ? next_clocks_[static_cast<size_t>(replica)] : ClockRange();
}

std::vector<ClockRange> ParameterClient::NextClocksLocked() const {
  std::vector<ClockRange> all;
  bool first = true;
  for (const std::unique_ptr<Peer>& peer : peers_) {
    if (peer->server.shards.empty()) continue;  // it knows of no clock
    const std::vector<ClockRange>& told = peer->next_clocks;
    if (std::exchange(first, false)) all = told;
    all.resize(std::max(all.size(), told.size()));  // what is not told is the job's start
    for (size_t replica = 0; replica < all.size(); ++replica) {
      const ClockRange clocks = replica < told.size() ? told[replica] : ClockRange();
      all[replica] = {std::min(all[replica].first, clocks.first), std::max(all[replica].last, clocks.last)};
    }
  }
  return all;
}

absl::Status ParameterClient::Adopt(int64_t term, std::vector<ServerPeer> servers) {
  TESSERA_ASSIGN_OR_RETURN(const std::vector<size_t> primary, Place(servers));
  MutexLock lock(&mutex_);
  term_ = term;
  stale_ = false;
  stale_told_ = false;
  SetServersLocked(std::move(servers), primary);
  for (const Shard& shard : layout_.shards()) requests_.SendAgain(shard.id);
  work_.NotifyAll();
  return absl::OkStatus();
}

void ParameterClient::Request(int group, Clock clock, bool settled) {
  for (size_t block = 0; block < layout_.blocks().size(); ++block) {
    weights_->Expect(group, static_cast<int>(block), clock);
  }
  const absl::Time now = absl::Now();
  for (const Shard& shard : layout_.shards()) {
    if (weights_->Has(group, shard.id, clock)) continue;
    ExchangeMessage read;
    read.kind = MessageKind::kRead;
    read.shard = shard.id;
    read.replicas = weights_->groups()[static_cast<size_t>(group)];
    read.clock = clock;
    read.settled = settled;
    read.rewind = options_.rewind;
    read.may_wait = true;
    std::shared_ptr<ExchangeSender> sender;
    {
      MutexLock lock(&mutex_);
      requests_.AddRead(group, shard.id, clock, settled, now);
      read.term = term_;
      sender = primary_[static_cast<size_t>(shard.id)]->sender;
    }
    if (sender != nullptr) sender->Send(std::move(read));
  }
  Flush();
}

void ParameterClient::Push(int group, int block, ReplicaRange replicas, Clock clock,
                           std::shared_ptr<const TensorBuffer> gradient, PushReply reply) {
  if (reply != PushReply::kAcknowledgement) weights_->Expect(group, block, clock + 1);
  const absl::Time now = absl::Now();
  bool flush = false;
  for (ShardId id : layout_.ShardsOfBlock(block)) {
    const Shard& shard = layout_.shards()[static_cast<size_t>(id)];
    ExchangeMessage push;
    push.kind = MessageKind::kPush;
    push.shard = id;
    push.replicas = replicas;
    push.clock = clock;
    push.version = weights_->version(group, id, clock);
    push.wants_weights = reply != PushReply::kAcknowledgement;
    push.settled = reply == PushReply::kSettledWeights;
    push.rewind = options_.rewind;
    push.tensor = TensorBytes(gradient, static_cast<size_t>(shard.offset), static_cast<size_t>(shard.length));
    push.may_wait = true;
    std::shared_ptr<ExchangeSender> sender;
    {
      MutexLock lock(&mutex_);
      requests_.AddPush(group, id, clock,
                        {replicas, push.version, push.wants_weights, push.settled, gradient}, now);
      push.term = term_;
      sender = primary_[static_cast<size_t>(id)]->sender;
      pushed_bytes_ += shard.bytes();
      waiting_bytes_ += shard.bytes();
      flush = waiting_bytes_ >= kPushTogether;
    }
    // Without a sender: it goes after the server's hello, as all that is outstanding.
    if (sender != nullptr) sender->Send(std::move(push), id);
  }
  if (flush) Flush();
}

void ParameterClient::Flush() {
  for (size_t server = 0;; ++server) {
    std::shared_ptr<ExchangeSender> sender;
    {
      MutexLock lock(&mutex_);
      waiting_bytes_ = 0;
      if (server >= peers_.size()) return;
      sender = peers_[server]->sender;
    }
    if (sender != nullptr) sender->Flush();
  }
}

void ParameterClient::Fail(absl::Status status) {
  MutexLock lock(&mutex_);
  FailLocked(std::move(status));
}

void ParameterClient::FailLocked(absl::Status status) {
  if (!failure_.ok()) return;
  failure_ = status;
  weights_->Fail(std::move(status));
  changed_.NotifyAll();
}

void ParameterClient::set_on_stale(std::function<void()> on_stale) {
  MutexLock lock(&mutex_);
  on_stale_ = std::move(on_stale);
}

std::optional<int> ParameterClient::GroupOf(const ExchangeMessage& message) const {
  const std::vector<ReplicaRange>& groups = weights_->groups();
  if (message.shard < 0 || static_cast<size_t>(message.shard) >= layout_.shards().size()) return std::nullopt;
  for (size_t group = 0; group < groups.size(); ++group) {
    if (groups[group].Contains(message.replicas)) return static_cast<int>(group);
  }
  return std::nullopt;
}

void ParameterClient::OnWeights(const ExchangeMessage& message) {
  const std::optional<int> group = GroupOf(message);
  MutexLock lock(&mutex_);
  pulled_bytes_ += static_cast<int64_t>(message.tensor.size_bytes());
  if (group.has_value()) requests_.OnWeights(*group, message.shard, message.clock, absl::Now());
}

void ParameterClient::OnDropped(const ExchangeMessage& message) {
  const std::optional<int> group = GroupOf(message);
  MutexLock lock(&mutex_);
  if (group.has_value()) requests_.OnDropped(*group, message.shard, message.clock);
}

void ParameterClient::OnUnknown(const ExchangeMessage& message) {
  const std::optional<int> group = GroupOf(message);
  if (!group.has_value() || message.rewind != options_.rewind) return;
  MutexLock lock(&mutex_);
  requests_.OnUnknown(*group, message.shard, message.replicas, message.clock);
  work_.NotifyAll();
}

void ParameterClient::OnUnavailable(const ExchangeMessage& message) {
  const std::optional<int> group = GroupOf(message);
  if (!group.has_value()) return;
  MutexLock lock(&mutex_);
  requests_.OnUnavailable(*group, message.shard, absl::Now());
}

void ParameterClient::OnStale() {
  MutexLock lock(&mutex_);
  stale_ = true;
  work_.NotifyAll();
}

ParameterClient::Peer* ParameterClient::FindLocked(const Link* link) {
  const auto found = std::find_if(peers_.begin(), peers_.end(),
                                  [link](const auto& peer) { return peer->link.get() == link; });
  return found == peers_.end() ? nullptr : found->get();
}

void ParameterClient::OnHello(Link* link, std::shared_ptr<ExchangeSender> sender,
                              const ExchangeMessage& hello) {
  MutexLock lock(&mutex_);
  Peer* const peer = FindLocked(link);
  if (peer == nullptr) return;
  // Its clocks are of before the change.
  if (hello.term < term_) return LoseLocked(peer, "it has not adopted the map yet");
  peer->sender = std::move(sender);
  peer->next_clocks = hello.next_clocks;
  peer->backoff = kFirstBackoff;
  peer->reason.clear();
  for (ShardId shard : peer->server.shards) requests_.SendAgain(shard);
  changed_.NotifyAll();
  work_.NotifyAll();
}

void ParameterClient::OnClosed(Link* link, const absl::Status& reason) {
  MutexLock lock(&mutex_);
  Peer* const peer = FindLocked(link);
  if (peer != nullptr) LoseLocked(peer, reason.message());
}

void ParameterClient::LoseLocked(Peer* peer, absl::string_view reason) {
  const absl::Time now = absl::Now();
  retired_.push_back(std::move(peer->link));
  peer->link = nullptr;
  if (std::exchange(peer->sender, nullptr) != nullptr) peer->lost_since = now;
  peer->reason = std::string(reason);
  peer->until = now + peer->backoff * std::uniform_real_distribution<double>(0.5, 1.0)(random_);
  peer->backoff = std::min(2 * peer->backoff, kLongestBackoff);
  work_.NotifyAll();
}

void ParameterClient::Run() {
  while (true) {
    Chores chores;
    {
      MutexLock lock(&mutex_);
      while (!closing_) {
        absl::Time next = absl::InfiniteFuture();
        chores = CollectLocked(absl::Now(), &next);
        if (!chores.empty()) break;
        // A request that is made meanwhile is not due before its first wait is over.
        const absl::Duration wait = std::min({next - absl::Now(), requests_.least_wait(), kLongestWait});
        work_.WaitWithTimeout(&mutex_, std::max(wait, absl::Milliseconds(1)));
      }
      if (closing_) return;
    }
    Perform(std::move(chores));
  }
}

ParameterClient::Chores ParameterClient::CollectLocked(absl::Time now, absl::Time* next) {
  Chores chores;
  chores.close.swap(retired_);
  if (!failure_.ok()) return chores;
  if (stale_ && !std::exchange(stale_told_, true)) chores.on_stale = on_stale_;
  for (const std::unique_ptr<Peer>& peer : peers_) {
    if (peer->sender == nullptr) {
      CollectConnectionLocked(peer.get(), now, next, &chores);
    } else {
      CollectRequestsLocked(peer.get(), now, next, &chores);
    }
  }
  return chores;
}

void ParameterClient::CollectConnectionLocked(Peer* peer, absl::Time now, absl::Time* next, Chores* chores) {
  if (now - peer->lost_since >= options_.patience && options_.parked && options_.parked()) {
    peer->lost_since = now;
  }
  if (now - peer->lost_since >= options_.patience) {
    return FailLocked(absl::UnavailableError(absl::StrCat("lost ", peer->server.name, " for ",
                                                          absl::FormatDuration(options_.patience),
                                                          peer->reason.empty() ? "" : ": ", peer->reason)));
  }
  if (now >= peer->until && peer->link != nullptr) {
    LoseLocked(peer, "it does not say hello");
  } else if (now >= peer->until) {
    peer->link = std::make_shared<Link>(this, peer->server);
    peer->until = now + options_.lease;
    chores->open.emplace_back(peer->server, peer->link);
  }
  *next = std::min({*next, peer->until, peer->lost_since + options_.patience});
}

void ParameterClient::CollectRequestsLocked(Peer* peer, absl::Time now, absl::Time* next, Chores* chores) {
  std::vector<ExchangeMessage> messages;
  for (ShardId shard : peer->server.shards) {
    requests_.TakeDue(shard, now, &messages, &retries_);
    *next = std::min(*next, requests_.NextDue(shard));
  }
  if (messages.empty()) return;
  for (ExchangeMessage& message : messages) {
    message.term = term_;
    message.rewind = options_.rewind;
    message.may_wait = true;
  }
  chores->send.push_back({peer->sender, std::move(messages)});
}

void ParameterClient::Perform(Chores chores) {
  if (chores.on_stale) chores.on_stale();
  for (const std::shared_ptr<Link>& link : chores.close) link->Close();
  for (const auto& [server, link] : chores.open) {
    ExchangeMessage hello;
    {
      MutexLock lock(&mutex_);
      hello = HelloLocked();
    }
    link->Begin(opener_(server, link), std::move(hello));
  }
  for (Chores::Sending& sending : chores.send) {
    for (ExchangeMessage& message : sending.messages) {
      const int priority = message.kind == MessageKind::kPush ? message.shard : 0;
      sending.sender->Send(std::move(message), priority);
    }
    sending.sender->Flush();
  }
}

ExchangeMessage ParameterClient::HelloLocked() const {
  ExchangeMessage hello;
  hello.kind = MessageKind::kHello;
  hello.protocol_version = kProtocolVersion;
  hello.node = options_.node;
  hello.term = term_;
  hello.rewind = options_.rewind;
  int64_t largest = 0;
  for (const Shard& shard : layout_.shards()) largest = std::max(largest, shard.bytes());
  hello.credit_bytes = CreditWindow(largest);
  return hello;
}

int64_t ParameterClient::pushed_bytes() const {
  MutexLock lock(&mutex_);
  return pushed_bytes_;
}

int64_t ParameterClient::pulled_bytes() const {
  MutexLock lock(&mutex_);
  return pulled_bytes_;
}

int64_t ParameterClient::retries() const {
  MutexLock lock(&mutex_);
  return retries_;
}

}  // namespace tessera

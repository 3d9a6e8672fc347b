#include "server/parameter_service.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/protocol.h"
#include "common/status.h"
#include "server/replication_messages.h"

namespace tessera {

// One connection. Messages come one at a time; answers may leave from any thread that completes a round.
class ParameterService::Session : public ExchangeReceiver, public std::enable_shared_from_this<Session> {
 public:
  Session(std::shared_ptr<ParameterService> service, std::shared_ptr<ExchangeSender> sender,
          const ExchangeTrace& trace)
      : service_(std::move(service)),
        sender_(std::move(sender)),
        trace_(trace),
        reader_(service_->next_reader_++) {}

  void OnMessage(ExchangeMessage message) override {
    const auto tensor_bytes = static_cast<int64_t>(message.tensor.size_bytes());
    const absl::Status status = Handle(message);
    if (!status.ok()) Refuse(message, status);
    if (tensor_bytes > 0) sender_->Grant(tensor_bytes);  // added, held where it lies, or not wanted
  }

  void OnClosed(absl::Status) override {
    closed_ = true;
    const State state = service_->state();
    if (state.store != nullptr) state.store->CancelReads(reader_);
  }

  // There may be a store now: answers a hello that came before it.
  void OnAdopted() {
    MutexLock lock(&mutex_);
    if (greeted_) AnswerHelloLocked();
  }

  void Close(absl::Status reason) { sender_->Close(std::move(reason)); }

 private:
  // `message` gets the server's term when its own is refused as too low.
  absl::Status Handle(ExchangeMessage& message) {
    if (message.kind == MessageKind::kHello) return OnHello(message);
    {
      MutexLock lock(&mutex_);
      if (!greeted_) return absl::FailedPreconditionError("a message before the hello");
    }
    const State state = service_->state();
    const bool newest_whatever_the_map = message.kind == MessageKind::kRead && message.latest;
    if (!newest_whatever_the_map) TESSERA_RETURN_IF_ERROR(CheckTerm(state.term, message));
    if (state.store == nullptr) return absl::UnavailableError("the server holds no shards yet");
    switch (message.kind) {
      case MessageKind::kPush:
        return message.probe ? OnProbe(*state.store, message) : OnPush(*state.store, message);
      case MessageKind::kRead:
        return OnRead(*state.store, message);
      case MessageKind::kForward:
        TESSERA_RETURN_IF_ERROR(CheckPrimary(state, message));
        return OnForward(*state.store, message);
      case MessageKind::kCopy:
        TESSERA_RETURN_IF_ERROR(CheckPrimary(state, message));
        return OnCopy(*state.store, message);
      default:
        return absl::InvalidArgumentError("a message that only servers send");
    }
  }

  absl::Status CheckPrimary(const State& state, const ExchangeMessage& message) const {
    const std::vector<NodeId>& primaries = *state.primaries;
    const bool known = message.shard >= 0 && static_cast<size_t>(message.shard) < primaries.size();
    MutexLock lock(&mutex_);
    if (known && peer_.has_value() && primaries[message.shard] == *peer_) return absl::OkStatus();
    return absl::PermissionDeniedError(
        absl::StrCat("an update of shard ", message.shard, " from who is not its primary"));
  }

  // What is there is the answer, also where the forward is not the next one.
  absl::Status OnForward(ParameterStore& store, const ExchangeMessage& message) {
    if (!message.probe) {
      const absl::Status made = store.Forward(message.term, ForwardFrom(message));
      if (!made.ok() && !absl::IsFailedPrecondition(made)) return made;
    }
    sender_->Send(MarkAnswer(message, store.Mark(message.shard)));
    return absl::OkStatus();
  }

  absl::Status OnCopy(ParameterStore& store, const ExchangeMessage& message) {
    TESSERA_ASSIGN_OR_RETURN(const std::optional<ShardCopy> copy, copies_.Add(message, store.layout()));
    if (!copy.has_value()) return absl::OkStatus();
    TESSERA_RETURN_IF_ERROR(store.Install(message.term, *copy));
    sender_->Send(MarkAnswer(message, store.Mark(message.shard)));
    return absl::OkStatus();
  }

  static absl::Status CheckTerm(int64_t term, ExchangeMessage& message) {
    if (message.term == term) return absl::OkStatus();
    const std::string difference =
        absl::StrCat("shard map term ", message.term, " is not the server's, ", term);
    if (message.term > term) return absl::UnavailableError(difference);
    message.term = term;
    return absl::AbortedError(difference);
  }

  absl::Status OnHello(const ExchangeMessage& message) {
    if (message.protocol_version != kProtocolVersion) {
      const absl::Status refusal = absl::FailedPreconditionError(absl::StrCat(
          message.node, " speaks protocol ", message.protocol_version, ", this server ", kProtocolVersion));
      Close(refusal);
      return refusal;
    }
    MutexLock lock(&mutex_);
    if (greeted_) return absl::FailedPreconditionError("a second hello");
    greeted_ = true;
    if (message.replication != nullptr) peer_ = message.replication->node_id;
    trace_.NamePeer(message.node);
    AnswerHelloLocked();
    return absl::OkStatus();
  }

  absl::Status OnPush(ParameterStore& store, const ExchangeMessage& message) {
    const PushHeader header{message.shard, message.replicas, message.clock, message.version};
    TESSERA_ASSIGN_OR_RETURN(const ConsistencyPolicy::Action action,
                             store.Push(header, message.tensor, trace_.receive));
    service_->pushed_bytes_ += static_cast<int64_t>(message.tensor.size_bytes());
    if (action == ConsistencyPolicy::Action::kDropped) return SendDropped(store, message);
    AnswerPush(store, message);
    return absl::OkStatus();
  }

  // Only what became of the push: the probe has no tensor.
  absl::Status OnProbe(ParameterStore& store, const ExchangeMessage& message) {
    TESSERA_ASSIGN_OR_RETURN(const PushState push,
                             store.Probe({message.shard, message.replicas, message.clock, message.version}));
    switch (push) {
      case PushState::kUnknown:
        sender_->Send(Answer(MessageKind::kUnknown, message));
        return absl::OkStatus();
      case PushState::kDropped:
        return SendDropped(store, message);
      case PushState::kHeld:
        sender_->Send(Answer(MessageKind::kPending, message));
        if (message.wants_weights) AnswerPush(store, message);
        return absl::OkStatus();
      case PushState::kApplied:
        if (AnswerPush(store, message)) sender_->Send(Answer(MessageKind::kPending, message));
        return absl::OkStatus();
    }
    return absl::InternalError("no such state of a push");
  }

  // True: the answer waits.
  bool AnswerPush(ParameterStore& store, const ExchangeMessage& push) {
    if (push.wants_weights) return AnswerWhenReadable(store, push, push.clock + 1);
    sender_->Send(Answer(MessageKind::kAck, push));
    return false;
  }

  // Once the round that was closed without it is released.
  absl::Status SendDropped(ParameterStore& store, const ExchangeMessage& message) {
    ExchangeMessage header = Answer(MessageKind::kDropped, message);
    store.Read(
        message.shard, message.replicas.first, message.clock + 1,
        [session = shared_from_this(),
         header = std::move(header)](absl::StatusOr<ShardVersion> read) mutable {
          if (session->closed_ || absl::IsCancelled(read.status())) return;
          if (!read.ok()) return session->Refuse(header, read.status());
          header.version = read->version;  // rounds are dropped in a single group only: its open round
          session->sender_->Send(std::move(header));
        },
        ReadRule::kPolicy, reader_);
    return absl::OkStatus();
  }

  absl::Status OnRead(ParameterStore& store, const ExchangeMessage& message) {
    if (!message.latest) {
      AnswerWhenReadable(store, message, message.clock);
      return absl::OkStatus();
    }
    TESSERA_ASSIGN_OR_RETURN(ShardVersion latest, store.Latest(message.shard));
    SendWeights(message, message.clock, std::move(latest));
    return absl::OkStatus();
  }

  // `request` without its tensor is all that a parked read keeps. True: it is parked.
  bool AnswerWhenReadable(ParameterStore& store, const ExchangeMessage& request, Clock clock) {
    ExchangeMessage header = Answer(MessageKind::kWeights, request);
    return store.Read(
        request.shard, request.replicas.first, clock,
        [session = shared_from_this(), header = std::move(header), clock](absl::StatusOr<ShardVersion> read) {
          // Cancelled: asked again since, or the store has closed. Then the connection is closed as well, or
          // the map has changed, which the client is told at its next message.
          if (session->closed_ || absl::IsCancelled(read.status())) return;
          if (!read.ok()) return session->Refuse(header, read.status());
          session->SendWeights(header, clock, *std::move(read));
        },
        request.settled ? ReadRule::kSettled : ReadRule::kPolicy, reader_);
  }

  void SendWeights(const ExchangeMessage& request, Clock clock, ShardVersion read) {
    ExchangeMessage answer = Answer(MessageKind::kWeights, request);
    answer.clock = clock;
    answer.version = read.version;
    answer.tensor = TensorBytes(std::move(read.weights));
    service_->pulled_bytes_ += static_cast<int64_t>(answer.tensor.size_bytes());
    sender_->Send(std::move(answer), request.shard);  // lower shards are needed first by the next forward
  }

  void Refuse(const ExchangeMessage& request, const absl::Status& status) {
    ++service_->refused_messages_;
    ExchangeMessage answer = Answer(MessageKind::kError, request);
    answer.error = status;
    sender_->Send(std::move(answer));
  }

  static ExchangeMessage Answer(MessageKind kind, const ExchangeMessage& request) {
    ExchangeMessage answer;
    answer.kind = kind;
    answer.shard = request.shard;
    answer.replicas = request.replicas;
    answer.clock = request.clock;
    answer.term = request.term;
    answer.rewind = request.rewind;
    return answer;
  }

  // Once, as soon as there is a store; to workers, once its clocks hold whatever happens.
  void AnswerHelloLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const State state = service_->state();
    if (state.store == nullptr || answered_) return;
    if (!peer_.has_value() && !state.store->open()) return;
    answered_ = true;
    ExchangeMessage hello;
    hello.kind = MessageKind::kHello;
    hello.protocol_version = kProtocolVersion;
    hello.term = state.term;
    hello.credit_bytes = CreditWindow(LargestShardBytes(state.store->layout()));
    hello.next_clocks = state.store->NextClocks();
    sender_->Send(std::move(hello));
  }

  static int64_t LargestShardBytes(const ShardLayout& layout) {
    int64_t largest = 0;
    for (const Shard& shard : layout.shards()) largest = std::max(largest, shard.bytes());
    return largest;
  }

  const std::shared_ptr<ParameterService> service_;
  const std::shared_ptr<ExchangeSender> sender_;
  const ExchangeTrace trace_;
  const ReaderId reader_;
  std::atomic<bool> closed_{false};
  CopyAssembler copies_;                                // the connection's thread's
  mutable Mutex mutex_;                                 // between Adopt and the connection's thread
  bool greeted_ ABSL_GUARDED_BY(mutex_) = false;        // the hello has come
  bool answered_ ABSL_GUARDED_BY(mutex_) = false;       // and was answered
  std::optional<NodeId> peer_ ABSL_GUARDED_BY(mutex_);  // of a server
};

std::shared_ptr<ParameterService> ParameterService::Create() {
  return std::shared_ptr<ParameterService>(new ParameterService());
}

ParameterService::~ParameterService() = default;

ParameterService::State ParameterService::state() const {
  MutexLock lock(&mutex_);
  return state_;
}

void ParameterService::Adopt(std::shared_ptr<ParameterStore> store, int64_t term,
                             std::vector<NodeId> primaries) {
  State last{store, term, std::make_shared<const std::vector<NodeId>>(std::move(primaries))};
  {
    MutexLock lock(&mutex_);
    std::swap(state_, last);
  }
  if (last.store != nullptr && last.store != store) last.store->Close();
  TellSessions();
}

void ParameterService::OnOpen() { TellSessions(); }

void ParameterService::TellSessions() {
  std::vector<std::weak_ptr<Session>> sessions;
  {
    MutexLock lock(&mutex_);
    sessions = sessions_;
  }
  for (const std::weak_ptr<Session>& weak : sessions) {
    if (auto session = weak.lock()) session->OnAdopted();
  }
}

void ParameterService::Reset(const absl::Status& reason) { CloseSessions(reason, /*for_good=*/false); }

void ParameterService::Close() { CloseSessions(absl::CancelledError("the server ends"), /*for_good=*/true); }

void ParameterService::CloseSessions(const absl::Status& reason, bool for_good) {
  std::vector<std::weak_ptr<Session>> sessions;
  State last;
  {
    MutexLock lock(&mutex_);
    closed_ = closed_ || for_good;
    sessions.swap(sessions_);
    if (for_good) {
      last = state_;  // whose newest versions may still be looked at
    } else {
      std::swap(state_, last);
    }
  }
  if (last.store != nullptr) last.store->Close();
  for (const std::weak_ptr<Session>& weak : sessions) {
    if (auto session = weak.lock()) session->Close(reason);
  }
}

std::shared_ptr<ExchangeReceiver> ParameterService::NewSession(std::shared_ptr<ExchangeSender> sender,
                                                               const ExchangeTrace& trace) {
  auto session = std::make_shared<Session>(shared_from_this(), std::move(sender), trace);
  bool closed = false;
  {
    MutexLock lock(&mutex_);
    std::erase_if(sessions_, [](const std::weak_ptr<Session>& weak) { return weak.expired(); });
    sessions_.push_back(session);
    closed = closed_;
  }
  if (closed) session->Close(absl::CancelledError("the server ends"));
  return session;
}

std::shared_ptr<ParameterStore> ParameterService::store() const { return state().store; }

ServiceStats ParameterService::stats() const { return {pushed_bytes_, pulled_bytes_, refused_messages_}; }

}  // namespace tessera

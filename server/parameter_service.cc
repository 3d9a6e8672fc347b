#include "server/parameter_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/protocol.h"
#include "common/status.h"

namespace tessera {

// One connection. Messages come one at a time; answers may leave from any thread that completes a round.
class ParameterService::Session : public ExchangeReceiver, public std::enable_shared_from_this<Session> {
 public:
  Session(std::shared_ptr<ParameterService> service, std::shared_ptr<ExchangeSender> sender,
          const ExchangeTrace& trace)
      : service_(std::move(service)), sender_(std::move(sender)), trace_(trace) {}

  void OnMessage(ExchangeMessage message) override {
    const auto tensor_bytes = static_cast<int64_t>(message.tensor.size_bytes());
    const absl::Status status = Handle(message);
    if (!status.ok()) Refuse(message, status);
    if (tensor_bytes > 0) sender_->Grant(tensor_bytes);  // added, held where it lies, or not wanted
  }

  void OnClosed(absl::Status) override { closed_ = true; }

  // The store is there: answers a hello that came before.
  void Open(std::shared_ptr<ParameterStore> store, int64_t term) {
    MutexLock lock(&mutex_);
    if (store_ != nullptr) return;
    store_ = std::move(store);
    term_ = term;
    if (greeted_) AnswerHelloLocked();
  }

  void Close(absl::Status reason) { sender_->Close(std::move(reason)); }

 private:
  absl::Status Handle(const ExchangeMessage& message) {
    if (message.kind == MessageKind::kHello) return OnHello(message);
    std::shared_ptr<ParameterStore> store;
    {
      MutexLock lock(&mutex_);
      if (!greeted_) return absl::FailedPreconditionError("a message before the hello");
      if (store_ == nullptr) return absl::UnavailableError("the server holds no shards yet");
      const bool newest_whatever_the_map = message.kind == MessageKind::kRead && message.latest;
      if (!newest_whatever_the_map && message.term != term_) {
        return absl::FailedPreconditionError(
            absl::StrCat("shard map term ", message.term, " is not the server's, ", term_));
      }
      store = store_;
    }
    switch (message.kind) {
      case MessageKind::kPush:
        return OnPush(*store, message);
      case MessageKind::kRead:
        return OnRead(*store, message);
      default:
        return absl::InvalidArgumentError("a message that only servers send");
    }
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
    trace_.NamePeer(message.node);
    if (store_ != nullptr) AnswerHelloLocked();
    return absl::OkStatus();
  }

  absl::Status OnPush(ParameterStore& store, const ExchangeMessage& message) {
    const PushHeader header{message.shard, message.replicas, message.clock, message.version};
    TESSERA_ASSIGN_OR_RETURN(const ConsistencyPolicy::Action action,
                             store.Push(header, message.tensor, trace_.receive));
    service_->pushed_bytes_ += static_cast<int64_t>(message.tensor.size_bytes());
    if (action == ConsistencyPolicy::Action::kDropped) return SendDropped(store, message);
    if (message.wants_weights) {
      AnswerWhenReadable(store, message, message.clock + 1);
    } else {
      ExchangeMessage ack = Answer(MessageKind::kAck, message);
      sender_->Send(std::move(ack));
    }
    return absl::OkStatus();
  }

  absl::Status SendDropped(ParameterStore& store, const ExchangeMessage& message) {
    TESSERA_ASSIGN_OR_RETURN(const ShardVersion latest, store.Latest(message.shard));
    ExchangeMessage dropped = Answer(MessageKind::kDropped, message);
    dropped.version = latest.version;  // rounds are dropped in a single group only: its open round
    sender_->Send(std::move(dropped));
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

  // `request` without its tensor is all that a parked read keeps.
  void AnswerWhenReadable(ParameterStore& store, const ExchangeMessage& request, Clock clock) {
    ExchangeMessage header = Answer(MessageKind::kWeights, request);
    store.Read(
        request.shard, request.replicas.first, clock,
        [session = shared_from_this(), header = std::move(header), clock](absl::StatusOr<ShardVersion> read) {
          // A store that closes ends the connection as well, and says why there.
          if (session->closed_ || absl::IsCancelled(read.status())) return;
          if (!read.ok()) return session->Refuse(header, read.status());
          session->SendWeights(header, clock, *std::move(read));
        },
        request.settled ? ReadRule::kSettled : ReadRule::kPolicy);
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

  void AnswerHelloLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ExchangeMessage hello;
    hello.kind = MessageKind::kHello;
    hello.protocol_version = kProtocolVersion;
    hello.term = term_;
    hello.credit_bytes = CreditWindow(LargestShardBytes(store_->layout()));
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
  std::atomic<bool> closed_{false};
  Mutex mutex_;  // between Open and the connection's thread
  std::shared_ptr<ParameterStore> store_ ABSL_GUARDED_BY(mutex_);
  int64_t term_ ABSL_GUARDED_BY(mutex_) = 0;
  bool greeted_ ABSL_GUARDED_BY(mutex_) = false;
};

std::shared_ptr<ParameterService> ParameterService::Create() {
  return std::shared_ptr<ParameterService>(new ParameterService());
}

ParameterService::~ParameterService() = default;

void ParameterService::Open(std::shared_ptr<ParameterStore> store, int64_t term) {
  std::vector<std::weak_ptr<Session>> sessions;
  {
    MutexLock lock(&mutex_);
    store_ = store;
    term_ = term;
    sessions = sessions_;
  }
  for (const std::weak_ptr<Session>& weak : sessions) {
    if (auto session = weak.lock()) session->Open(store, term);
  }
}

void ParameterService::Close() {
  std::vector<std::weak_ptr<Session>> sessions;
  std::shared_ptr<ParameterStore> store;
  {
    MutexLock lock(&mutex_);
    closed_ = true;
    sessions.swap(sessions_);
    store = store_;
  }
  if (store != nullptr) store->Close();
  for (const std::weak_ptr<Session>& weak : sessions) {
    if (auto session = weak.lock()) session->Close(absl::CancelledError("the server ends"));
  }
}

std::shared_ptr<ExchangeReceiver> ParameterService::NewSession(std::shared_ptr<ExchangeSender> sender,
                                                               const ExchangeTrace& trace) {
  auto session = std::make_shared<Session>(shared_from_this(), std::move(sender), trace);
  std::shared_ptr<ParameterStore> store;
  int64_t term = 0;
  bool closed = false;
  {
    MutexLock lock(&mutex_);
    std::erase_if(sessions_, [](const std::weak_ptr<Session>& weak) { return weak.expired(); });
    sessions_.push_back(session);
    store = store_;
    term = term_;
    closed = closed_;
  }
  if (store != nullptr) session->Open(std::move(store), term);
  if (closed) session->Close(absl::CancelledError("the server ends"));
  return session;
}

std::shared_ptr<ParameterStore> ParameterService::store() const {
  MutexLock lock(&mutex_);
  return store_;
}

ServiceStats ParameterService::stats() const { return {pushed_bytes_, pulled_bytes_, refused_messages_}; }

}  // namespace tessera

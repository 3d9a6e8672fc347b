#include "common/in_process_exchange.h"

#include <thread>
#include <utility>
#include <vector>

#include "common/mutex.h"
#include "common/random.h"
#include "common/send_queue.h"

namespace tessera {

// All ends share one lock: this transport is for correctness, not speed.
class InProcessNetwork::State {
 public:
  explicit State(uint64_t shuffle_seed)
      : shuffled_(shuffle_seed != 0), choice_(shuffle_seed, RandomPurpose::kSampleOrder) {}

  Mutex mutex;
  CondVar changed;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  std::vector<std::shared_ptr<End>> ends ABSL_GUARDED_BY(mutex);
  std::thread thread;

  void Run();

 private:
  std::shared_ptr<End> PickLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  const bool shuffled_;
  const RandomStream choice_;
  uint64_t draws_ = 0;  // the delivery thread's own
};

// One direction: what its owner sends, `receiver` gets.
class InProcessNetwork::End : public ExchangeSender {
 public:
  explicit End(std::shared_ptr<State> state) : state_(std::move(state)) {}

  void Send(ExchangeMessage message, int priority) override {
    MutexLock lock(&state_->mutex);
    if (closed_) return;
    const bool hello = message.kind == MessageKind::kHello;
    if (hello) queue_.set_window(message.credit_bytes);
    const absl::Status added = queue_.Add(std::move(message), priority);
    if (!added.ok()) CloseLocked(added);
    state_->changed.NotifyAll();
  }

  void Flush() override {}  // nothing waits here

  void Grant(int64_t bytes) override {
    MutexLock lock(&state_->mutex);
    if (closed_ || peer_ == nullptr) return;
    peer_->queue_.AddCredit(bytes);
    state_->changed.NotifyAll();
  }

  void Close(absl::Status reason) override {
    MutexLock lock(&state_->mutex);
    CloseLocked(std::move(reason));
  }

 private:
  friend class State;
  friend class InProcessNetwork;

  void CloseLocked(absl::Status reason) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (End* end : {this, peer_}) {
      if (end == nullptr || end->closed_) continue;
      end->closed_ = true;
      end->close_reason_ = reason;
      end->queue_.Clear();
    }
    state_->changed.NotifyAll();
  }

  const std::shared_ptr<State> state_;
  // Guarded by state_->mutex.
  End* peer_ = nullptr;
  SendQueue queue_;
  std::shared_ptr<ExchangeReceiver> receiver_;
  bool closed_ = false;
  bool close_told_ = false;
  absl::Status close_reason_;
};

std::shared_ptr<InProcessNetwork::End> InProcessNetwork::State::PickLocked() {
  const size_t count = ends.size();
  if (count == 0) return nullptr;
  const size_t start = shuffled_ ? choice_.Below(draws_++, count) : draws_++ % count;
  for (size_t i = 0; i < count; ++i) {
    const std::shared_ptr<End>& end = ends[(start + i) % count];
    if (end->receiver_ == nullptr || end->close_told_) continue;
    if (end->closed_ || end->queue_.HasNext()) return end;
  }
  return nullptr;
}

void InProcessNetwork::State::Run() {
  while (true) {
    std::shared_ptr<End> end;
    std::shared_ptr<ExchangeReceiver> receiver;
    std::optional<ExchangeMessage> message;
    absl::Status reason;
    {
      MutexLock lock(&mutex);
      while ((end = PickLocked()) == nullptr) {
        if (stopping) return;
        changed.WaitWithTimeout(&mutex, absl::Seconds(1));
      }
      receiver = end->receiver_;
      if (end->closed_) {
        end->close_told_ = true;
        end->receiver_ = nullptr;
        reason = end->close_reason_;
      } else {
        message = end->queue_.Next();
        if (message->credit_bytes > 0) end->peer_->queue_.AddCredit(message->credit_bytes);
      }
    }
    if (message.has_value()) {
      receiver->OnMessage(*std::move(message));
    } else {
      receiver->OnClosed(reason);
    }
  }
}

InProcessNetwork::InProcessNetwork(uint64_t shuffle_seed) : state_(std::make_shared<State>(shuffle_seed)) {
  State* state = state_.get();
  state_->thread = std::thread([state] { state->Run(); });
}

InProcessNetwork::~InProcessNetwork() {
  std::vector<std::shared_ptr<End>> ends;
  {
    MutexLock lock(&state_->mutex);
    for (const std::shared_ptr<End>& end : state_->ends) end->CloseLocked(absl::OkStatus());
    state_->stopping = true;
    state_->changed.NotifyAll();
  }
  state_->thread.join();
  MutexLock lock(&state_->mutex);
  ends.swap(state_->ends);
}

InProcessNetwork::Connection InProcessNetwork::Connect() {
  auto client = std::make_shared<End>(state_);
  auto server = std::make_shared<End>(state_);
  MutexLock lock(&state_->mutex);
  client->peer_ = server.get();
  server->peer_ = client.get();
  return {client, server};
}

void InProcessNetwork::Start(const Connection& connection, std::shared_ptr<ExchangeReceiver> client_receiver,
                             std::shared_ptr<ExchangeReceiver> server_receiver) {
  auto client = std::static_pointer_cast<End>(connection.client);
  auto server = std::static_pointer_cast<End>(connection.server);
  MutexLock lock(&state_->mutex);
  // What the client sends, the server receives.
  client->receiver_ = std::move(server_receiver);
  server->receiver_ = std::move(client_receiver);
  state_->ends.push_back(client);
  state_->ends.push_back(server);
  state_->changed.NotifyAll();
}

}  // namespace tessera

#include "common/rpc/shard_reader.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/mutex.h"
#include "common/protocol.h"
#include "common/rpc/exchange_client.h"

namespace tessera {
namespace {

constexpr int64_t kReadWindowBytes = 8 << 20;
// For an answer, until it is asked for again; doubles.
constexpr absl::Duration kFirstWait = absl::Milliseconds(300);

// Collects the answers of one stream.
class Collector : public ExchangeReceiver {
 public:
  explicit Collector(std::vector<ShardId> wanted) : wanted_(std::move(wanted)) {}

  void Begin(std::shared_ptr<ExchangeSender> sender, const std::string& node) {
    ExchangeMessage hello;
    hello.kind = MessageKind::kHello;
    hello.protocol_version = kProtocolVersion;
    hello.node = node;
    hello.credit_bytes = kReadWindowBytes;
    MutexLock lock(&mutex_);
    sender_ = std::move(sender);
    sender_->Send(std::move(hello));
  }

  void OnMessage(ExchangeMessage message) override {
    MutexLock lock(&mutex_);
    if (message.kind == MessageKind::kHello) {
      greeted_ = true;
      return RequestLocked();
    }
    if (message.kind == MessageKind::kError) return FinishLocked(message.error);
    if (message.kind != MessageKind::kWeights || message.tensor.size_bytes() % sizeof(float) != 0) {
      return FinishLocked(absl::InternalError("an answer that was not asked for"));
    }
    auto tensor = std::make_shared<TensorBuffer>(message.tensor.size_bytes() / sizeof(float));
    message.tensor.CopyTo(tensor->span());
    sender_->Grant(static_cast<int64_t>(message.tensor.size_bytes()));
    fetched_[message.shard] = {message.shard, message.version, std::move(tensor)};
    if (fetched_.size() == wanted_.size()) FinishLocked(absl::OkStatus());
  }

  void OnClosed(absl::Status reason) override {
    MutexLock lock(&mutex_);
    FinishLocked(reason.ok() ? absl::UnavailableError("the server ended the stream") : reason);
  }

  absl::StatusOr<std::vector<FetchedShard>> Wait(absl::Duration timeout) {
    const absl::Time deadline = absl::Now() + timeout;
    absl::Duration wait = kFirstWait;
    absl::Time again = absl::Now() + wait;
    MutexLock lock(&mutex_);
    while (!finished_) {
      const absl::Time now = absl::Now();
      if (now >= deadline) {
        return absl::DeadlineExceededError(absl::StrCat(
            fetched_.size(), " of ", wanted_.size(), " shards came within ", absl::FormatDuration(timeout)));
      }
      if (now >= again) {
        if (greeted_) RequestLocked();
        wait *= 2;
        again = now + wait;
      }
      changed_.WaitWithTimeout(&mutex_, std::min(deadline, again) - now);
    }
    if (!status_.ok()) return status_;
    std::vector<FetchedShard> result;
    for (ShardId shard : wanted_) {
      auto found = fetched_.find(shard);
      if (found == fetched_.end()) return absl::InternalError(absl::StrCat("no answer for shard ", shard));
      result.push_back(found->second);
    }
    return result;
  }

 private:
  // Asks for what has not come.
  void RequestLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (ShardId shard : wanted_) {
      if (fetched_.count(shard) > 0) continue;
      ExchangeMessage read;
      read.kind = MessageKind::kRead;
      read.shard = shard;
      read.latest = true;
      sender_->Send(std::move(read));
    }
  }
  void FinishLocked(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (finished_) return;
    finished_ = true;
    status_ = std::move(status);
    changed_.NotifyAll();
  }

  const std::vector<ShardId> wanted_;
  Mutex mutex_;  // one stream and one waiting thread; Send under it is safe, since over gRPC it calls nobody
                 // back
  CondVar changed_;
  std::shared_ptr<ExchangeSender> sender_ ABSL_GUARDED_BY(mutex_);
  std::map<ShardId, FetchedShard> fetched_ ABSL_GUARDED_BY(mutex_);
  bool greeted_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::vector<FetchedShard>> ReadShards(const std::string& address, const std::string& node,
                                                     absl::Span<const ShardId> shards,
                                                     absl::Duration timeout) {
  if (shards.empty()) return std::vector<FetchedShard>();
  ExchangeClient client;
  auto collector = std::make_shared<Collector>(std::vector<ShardId>(shards.begin(), shards.end()));
  collector->Begin(client.Open(address, collector), node);
  return collector->Wait(timeout);
}

}  // namespace tessera

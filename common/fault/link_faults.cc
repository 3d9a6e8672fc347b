#include "common/fault/link_faults.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/random.h"

namespace tessera {
namespace {

// Calls are drawn as the messages of one more connection.
constexpr uint64_t kCalls = ~uint64_t{0};

// Two numbers of the stream for each message.
RandomStream StreamOf(uint64_t seed, uint64_t connection) {
  return RandomStream(seed, RandomPurpose::kFaults, connection);
}

// What is about a shard: whoever waits for it asks again.
bool MayBeLost(MessageKind kind) {
  switch (kind) {
    case MessageKind::kPush:
    case MessageKind::kRead:
    case MessageKind::kWeights:
    case MessageKind::kAck:
    case MessageKind::kDropped:
    case MessageKind::kPending:
    case MessageKind::kUnknown:
    case MessageKind::kForward:
    case MessageKind::kForwarded:
    case MessageKind::kCopy:
    case MessageKind::kCopied:
      return true;
    case MessageKind::kHello:
    case MessageKind::kError:
    case MessageKind::kCredit:
      return false;
  }
  return false;
}

}  // namespace

class LinkFaults::Sender : public ExchangeSender {
 public:
  Sender(std::shared_ptr<LinkFaults> faults, uint64_t connection, std::shared_ptr<ExchangeSender> sender)
      : faults_(std::move(faults)), connection_(connection), sender_(std::move(sender)) {}

  void Send(ExchangeMessage message, int priority) override {
    if (!MayBeLost(message.kind)) return sender_->Send(std::move(message), priority);
    switch (faults_->Draw(connection_, next_++)) {
      case Fate::kPass:
        return sender_->Send(std::move(message), priority);
      case Fate::kLose:
        if (!message.may_wait) sender_->Flush();  // others would have left with it
        return;
      case Fate::kCut:
        return sender_->Close(absl::UnavailableError("the connection was cut on purpose (--fault-cut)"));
    }
  }
  void Flush() override { sender_->Flush(); }
  void Grant(int64_t bytes) override { sender_->Grant(bytes); }
  void Close(absl::Status reason) override { sender_->Close(std::move(reason)); }

 private:
  const std::shared_ptr<LinkFaults> faults_;
  const uint64_t connection_;
  const std::shared_ptr<ExchangeSender> sender_;
  std::atomic<uint64_t> next_{0};
};

std::shared_ptr<LinkFaults> LinkFaults::Create(const FaultOptions& options) {
  if (options.loss == 0 && options.cut == 0) return nullptr;
  return std::shared_ptr<LinkFaults>(new LinkFaults(options));
}

std::shared_ptr<ExchangeSender> LinkFaults::Wrap(std::shared_ptr<ExchangeSender> sender) {
  return std::make_shared<Sender>(shared_from_this(), connections_++, std::move(sender));
}

LinkFaults::Fate LinkFaults::Draw(uint64_t connection, uint64_t number) {
  ++messages_;
  const RandomStream stream = StreamOf(options_.seed, connection);
  if (stream.Uniform(2 * number) < options_.cut) {
    ++cuts_;
    return Fate::kCut;
  }
  if (stream.Uniform(2 * number + 1) < options_.loss) {
    ++lost_messages_;
    return Fate::kLose;
  }
  return Fate::kPass;
}

bool LinkFaults::LosesCall() {
  const bool lost = StreamOf(options_.seed, kCalls).Uniform(calls_++) < options_.loss;
  if (lost) ++lost_calls_;
  return lost;
}

std::string LinkFaults::Summary() const {
  return absl::StrCat("faults on purpose: ", lost_messages_.load(), " of ", messages_.load(),
                      " messages lost, ", cuts_.load(), " of ", connections_.load(), " connections cut, ",
                      lost_calls_.load(), " of ", calls_.load(), " calls lost");
}

std::shared_ptr<ExchangeSender> WithFaults(LinkFaults* faults, std::shared_ptr<ExchangeSender> sender) {
  return faults == nullptr ? std::move(sender) : faults->Wrap(std::move(sender));
}

}  // namespace tessera

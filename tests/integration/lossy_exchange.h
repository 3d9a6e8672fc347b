// Connections that lose messages and break, by a seed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "common/exchange.h"
#include "common/random.h"

namespace tessera {

// Decides, from a seed, which of many things happen: one in `one_in`, in any order of asking.
class Chance {
 public:
  Chance(uint64_t seed, uint64_t one_in) : draws_(seed, RandomPurpose::kSampleOrder), one_in_(one_in) {}
  bool operator()() { return draws_.Below(next_++, one_in_) == 0; }

 private:
  const RandomStream draws_;
  const uint64_t one_in_;
  std::atomic<uint64_t> next_{0};
};

// Loses requests, and now and then the connection.
class LossySender : public ExchangeSender {
 public:
  LossySender(std::shared_ptr<ExchangeSender> sender, Chance* loss, Chance* cut)
      : sender_(std::move(sender)), loss_(loss), cut_(cut) {}
  void Send(ExchangeMessage message, int priority) override {
    if (message.kind == MessageKind::kHello) return sender_->Send(std::move(message), priority);
    if ((*cut_)()) return sender_->Close(absl::UnavailableError("cut by the test"));
    if (!(*loss_)()) sender_->Send(std::move(message), priority);
  }
  void Flush() override { sender_->Flush(); }
  void Grant(int64_t bytes) override { sender_->Grant(bytes); }
  void Close(absl::Status reason) override { sender_->Close(std::move(reason)); }

 private:
  const std::shared_ptr<ExchangeSender> sender_;
  Chance* const loss_;
  Chance* const cut_;
};

// Loses answers.
class LossyReceiver : public ExchangeReceiver {
 public:
  LossyReceiver(std::shared_ptr<ExchangeReceiver> receiver, Chance* loss)
      : receiver_(std::move(receiver)), loss_(loss) {}
  void OnMessage(ExchangeMessage message) override {
    const bool lost = message.kind != MessageKind::kHello && (*loss_)();
    if (lost && message.kind != MessageKind::kWeights) return;
    if (lost) message.rewind = -1;  // of no timeline: ignored, but its credit comes back
    receiver_->OnMessage(std::move(message));
  }
  void OnClosed(absl::Status reason) override { receiver_->OnClosed(std::move(reason)); }

 private:
  const std::shared_ptr<ExchangeReceiver> receiver_;
  Chance* const loss_;
};

}  // namespace tessera

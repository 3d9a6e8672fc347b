#include "common/trace/exchange_trace.h"

#include "absl/strings/str_cat.h"

namespace tessera {

ExchangeTrace ExchangeTrace::To(TraceRecorder* recorder, const std::string& peer) {
  if (recorder == nullptr) return {};
  return {recorder->AddTrack(absl::StrCat("to ", peer)), recorder->AddTrack(absl::StrCat("from ", peer))};
}

void ExchangeTrace::NamePeer(const std::string& peer) const {
  if (send) send.recorder->RenameTrack(send, absl::StrCat("to ", peer));
  if (receive) receive.recorder->RenameTrack(receive, absl::StrCat("from ", peer));
}

void ExchangeTrace::OnLeft(const ExchangeMessage& message) const {
  if (!send || message.tensor.size_bytes() == 0) return;
  send.recorder->Record({TraceKind::kQueue, send.id, message.queued_ns, TraceNow(), ArgsOf(message)});
}

void ExchangeTrace::OnReceived(const ExchangeMessage& message, int64_t begin_ns) const {
  if (!receive || message.tensor.size_bytes() == 0) return;
  receive.recorder->Record({TraceKind::kReceive, receive.id, begin_ns, TraceNow(), ArgsOf(message)});
}

TraceArgs ArgsOf(const ExchangeMessage& message) {
  TraceArgs args;
  args.shard = message.shard;
  args.replicas = message.replicas;
  args.clock = message.clock;
  args.bytes = static_cast<int64_t>(message.tensor.size_bytes());
  args.message = message.kind == MessageKind::kPush ? "push" : "weights";
  return args;
}

}  // namespace tessera

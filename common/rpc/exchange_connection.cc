#include "common/rpc/exchange_connection.h"

#include <spdlog/spdlog.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/status.h"

namespace tessera {
namespace {

// A frame with so many bytes of tensors takes no more messages: two shards of the usual size are better off
// in two. What goes by reference takes nothing in it, but must not use up the peer's whole credit at once:
// the peer grants anew when it has handled a frame, and the wire would idle meanwhile.
constexpr size_t kFrameTensorBytes = 64 << 10;
constexpr size_t kFrameReferredBytes = 1 << 20;
constexpr size_t kFrameMessages = 64;
// Messages that may wait do so until there are as many bytes of tensors.
constexpr size_t kMostWaitingBytes = 1 << 20;
// What is being written when a connection is closed has so long to leave, so that the peer learns the reason
// behind it.
constexpr absl::Duration kLastWrite = absl::Seconds(1);

}  // namespace

void* ExchangeConnection::Operation::Begin(ExchangeConnection* connection) {
  self_ = connection->shared_from_this();
  return static_cast<CompletionOperation*>(this);
}

void ExchangeConnection::Operation::OnComplete(bool ok) {
  const std::shared_ptr<ExchangeConnection> connection = std::move(self_);
  (connection.get()->*handler_)(ok);
}

ExchangeConnection::ExchangeConnection(CompletionThread* thread, SharedMemoryLink::OutboxSource outbox,
                                       std::shared_ptr<InboundLinks> inbound)
    : thread_(thread), link_(std::move(outbox), std::move(inbound)) {
  thread_->Attach();
}

ExchangeConnection::~ExchangeConnection() = default;

void ExchangeConnection::BeginStreaming(Reader* reader, Writer* writer) {
  reader_ = reader;
  MutexLock lock(&mutex_);
  writer_ = writer;
  reading_ = true;
  reader_->Read(&received_, read_operation_.Begin(this));
  PumpLocked();
}

void ExchangeConnection::FailedToBegin() {
  MutexLock lock(&mutex_);
  MaybeFinishLocked();
}

void ExchangeConnection::Send(ExchangeMessage message, int priority) {
  absl::Status added;
  if (trace_.send) message.queued_ns = TraceNow();
  {
    MutexLock lock(&mutex_);
    if (closed_ || broken_ || finishing_) return;
    if (message.kind == MessageKind::kHello) queue_.set_window(message.credit_bytes);
    const bool may_wait = message.may_wait;
    waiting_bytes_ += message.tensor.size_bytes();
    added = queue_.Add(std::move(message), priority);
    if (added.ok() && (!may_wait || waiting_bytes_ >= kMostWaitingBytes)) PumpSoonLocked();
  }
  if (!added.ok()) Close(added);
}

void ExchangeConnection::Flush() {
  MutexLock lock(&mutex_);
  if (closed_ || broken_ || finishing_) return;  // and the thread may be gone
  PumpSoonLocked();
}

void ExchangeConnection::Grant(int64_t bytes) {
  ExchangeMessage credit;
  credit.kind = MessageKind::kCredit;
  {
    MutexLock lock(&mutex_);
    credit.credit_bytes = queue_.CollectGrant(bytes);
  }
  if (credit.credit_bytes > 0) Send(std::move(credit), 0);
}

void ExchangeConnection::Close(absl::Status reason) {
  {
    MutexLock lock(&mutex_);
    if (closed_) return;
    closed_ = true;
    close_reason_ = std::move(reason);
    queue_.Clear();
    if (finishing_) return;
    if (writer_ != nullptr &&
        (!reading_ || MayFinishWhileReading())) {  // in order: the peer learns the reason
      if (!writing_) return FinishLocked();
      overdue_.Set(thread_->queue(), absl::ToChronoTime(absl::Now() + kLastWrite),
                   overdue_operation_.Begin(this));
      return;
    }
  }
  Cancel();
}

void ExchangeConnection::OnLastWriteOverdue(bool overdue) {
  {
    MutexLock lock(&mutex_);
    if (!overdue || finishing_) return;
  }
  Cancel();
}

void ExchangeConnection::PumpSoonLocked() {
  if (!thread_->IsCurrent()) return PumpLocked();
  if (!std::exchange(deferred_, true)) thread_->Defer(shared_from_this());
}

void ExchangeConnection::RunDeferred() {
  MutexLock lock(&mutex_);
  deferred_ = false;
  PumpLocked();
}

void ExchangeConnection::PumpLocked() {
  waiting_bytes_ = 0;
  if (writing_ || writer_ == nullptr || finishing_) return;
  FrameWriter frame;
  size_t bytes = 0;  // of tensors, however they go
  while (frame.messages() < kFrameMessages && frame.tensor_bytes() < kFrameTensorBytes &&
         bytes < kFrameReferredBytes) {
    std::optional<ExchangeMessage> message = queue_.Next();
    if (!message.has_value()) break;
    bytes += message->tensor.size_bytes();
    if (message->kind != MessageKind::kHello) message->credit_bytes += queue_.TakeCollected();
    EncodeLocked(*std::move(message), &frame);
  }
  if (frame.messages() == 0) return;
  writing_ = true;
  writer_->Write(std::move(frame).Finish(), write_operation_.Begin(this));
}

void ExchangeConnection::EncodeLocked(ExchangeMessage message, FrameWriter* frame) {
  const bool traced = trace_.send && message.tensor.size_bytes() > 0;
  if (traced) trace_.OnLeft(message);
  const TraceSpan span(traced ? trace_.send : TraceTrack(), TraceKind::kEncode, ArgsOf(message));
  const SharedMemoryHeader shared = link_.OnSend(&message);
  frame->Add(message, shared);
}

void ExchangeConnection::OnWritten(bool ok) {
  MutexLock lock(&mutex_);
  writing_ = false;
  if (!ok) {
    broken_ = true;
    queue_.Clear();
  }
  PumpLocked();
  MaybeFinishLocked();
}

void ExchangeConnection::OnRead(bool ok) {
  {
    MutexLock lock(&mutex_);
    reading_ = false;
    if (!ok) {
      queue_.Clear();
      return MaybeFinishLocked();
    }
    if (closed_) return MaybeFinishLocked();
  }
  Handle(received_);
  MutexLock lock(&mutex_);
  if (closed_) return MaybeFinishLocked();
  reading_ = true;
  reader_->Read(&received_, read_operation_.Begin(this));
}

void ExchangeConnection::Handle(const grpc::ByteBuffer& buffer) {
  const int64_t received_ns = trace_.receive ? TraceNow() : 0;
  absl::StatusOr<std::vector<FramedMessage>> messages = DecodeFrame(buffer);
  if (!messages.ok()) return Close(messages.status());
  for (FramedMessage& framed : *messages) {
    if (!Handle(std::move(framed), received_ns)) return;
  }
}

bool ExchangeConnection::Handle(FramedMessage framed, int64_t received_ns) {
  ExchangeMessage& message = framed.message;
  const absl::Status received = ReceiveShared(framed.shared, &message);
  if (!received.ok()) {
    Close(received);
    return false;
  }
  trace_.OnReceived(message, received_ns);
  if (message.credit_bytes > 0) {
    MutexLock lock(&mutex_);
    queue_.AddCredit(message.credit_bytes);
    PumpSoonLocked();
  }
  if (message.kind != MessageKind::kCredit) receiver_->OnMessage(std::move(message));
  MutexLock lock(&mutex_);
  return !closed_;
}

absl::Status ExchangeConnection::ReceiveShared(const SharedMemoryHeader& shared, ExchangeMessage* message) {
  bool announce = false;
  std::string news;
  {
    MutexLock lock(&mutex_);
    TESSERA_RETURN_IF_ERROR(link_.OnReceive(shared, message));
    announce = link_.HasAnnouncement();
    news = link_.TakeNews();
  }
  if (!news.empty()) spdlog::info("{}", news);
  if (announce) {
    ExchangeMessage carrier;
    carrier.kind = MessageKind::kCredit;
    Send(std::move(carrier), 0);
  }
  return absl::OkStatus();
}

void ExchangeConnection::MaybeFinishLocked() {
  if (writing_ || finishing_) return;
  if (!reading_ || (closed_ && writer_ != nullptr && MayFinishWhileReading())) FinishLocked();
}

void ExchangeConnection::FinishLocked() {
  finishing_ = true;
  overdue_.Cancel();
  StartFinish(closed_, close_reason_);
}

void ExchangeConnection::OnFinished(bool) {
  absl::Status reason;
  {
    MutexLock lock(&mutex_);
    reason = close_reason_;
    link_.Close();
  }
  std::shared_ptr<ExchangeReceiver> receiver = std::move(receiver_);
  receiver->OnClosed(FinalStatus(reason));
  thread_->Detach();
}

}  // namespace tessera

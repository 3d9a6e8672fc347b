// One end of an Exchange stream over gRPC: the read loop, the write pump and the credit, the same for both
// ends. common/rpc/exchange_client.h and server/grpc_exchange_server.h add how a call begins and ends.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/byte_buffer.h>

#include <memory>

#include "common/exchange.h"
#include "common/mutex.h"
#include "common/rpc/completion_thread.h"
#include "common/rpc/shard_codec.h"
#include "common/send_queue.h"
#include "common/shared_memory/link.h"
#include "common/trace/exchange_trace.h"

namespace tessera {

// Lives as long as an operation of it is under way, or somebody holds it. One read and one write are under
// way at once.
//
// Messages leave in frames, as many in one as are there and small (a frame costs some 40 us of processor time
// at each end, whatever its size): what one completion of the connection's thread makes it send, and what may
// wait for others.
class ExchangeConnection : public ExchangeSender,
                           public DeferredWork,
                           public std::enable_shared_from_this<ExchangeConnection> {
 public:
  void Send(ExchangeMessage message, int priority) override;
  void Flush() override;
  void Grant(int64_t bytes) override;
  void Close(absl::Status reason) override;

  // Who gets the messages; before the call begins.
  void set_receiver(std::shared_ptr<ExchangeReceiver> receiver) { receiver_ = std::move(receiver); }
  // Where its messages are recorded; before the call begins.
  void set_trace(const ExchangeTrace& trace) { trace_ = trace; }

 protected:
  using Reader = grpc::internal::AsyncReaderInterface<grpc::ByteBuffer>;
  using Writer = grpc::internal::AsyncWriterInterface<grpc::ByteBuffer>;

  // A tag that keeps the connection alive while its operation is under way.
  class Operation : public CompletionOperation {
   public:
    using Handler = void (ExchangeConnection::*)(bool);
    explicit Operation(Handler handler) : handler_(handler) {}
    void* Begin(ExchangeConnection* connection);
    void OnComplete(bool ok) override;

   private:
    const Handler handler_;
    std::shared_ptr<ExchangeConnection> self_;
  };

  // `outbox` is where tensors may lie that need not be sent as bytes (SharedMemoryLink); null: there is none.
  // `inbound` is shared by all connections of the client or server.
  ExchangeConnection(CompletionThread* thread, SharedMemoryLink::OutboxSource outbox,
                     std::shared_ptr<InboundLinks> inbound);
  ~ExchangeConnection() override;

  // The call is up: reading and writing begin.
  void BeginStreaming(Reader* reader, Writer* writer);
  // The call could not be made: finish it.
  void FailedToBegin();
  // There never was a call: nothing to finish, nobody to tell.
  void Abandon() { thread_->Detach(); }

  // Starts the call's last operation with BeginFinishOperation(); nothing else is under way, or only a read
  // on the server's side. `closed`: Close was called, for `reason`; else the peer ended the call.
  virtual void StartFinish(bool closed, const absl::Status& reason) = 0;
  // Whether StartFinish may be called while a read is under way.
  virtual bool MayFinishWhileReading() const = 0;
  // What the call ended with; asked after the finish operation.
  virtual absl::Status FinalStatus(const absl::Status& reason) const = 0;
  // Makes every operation under way end soon. Thread-safe.
  virtual void Cancel() = 0;
  void* BeginFinishOperation() { return finish_operation_.Begin(this); }

 private:
  void OnRead(bool ok);
  void OnWritten(bool ok);
  void OnFinished(bool ok);
  void OnLastWriteOverdue(bool overdue);
  void RunDeferred() override;
  void Handle(const grpc::ByteBuffer& buffer);
  // Whether the messages that follow are to be handled too.
  bool Handle(FramedMessage framed, int64_t received_ns);
  // Takes in what came with `message` about shared memory; errors as SharedMemoryLink::OnReceive.
  absl::Status ReceiveShared(const SharedMemoryHeader& shared, ExchangeMessage* message);
  // Adds `message` as it goes: its tensor is left out where a reference stands for it.
  void EncodeLocked(ExchangeMessage message, FrameWriter* frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PumpLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // PumpLocked, but on the connection's thread not before what it handles now has been handled.
  void PumpSoonLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MaybeFinishLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  CompletionThread* const thread_;
  std::shared_ptr<ExchangeReceiver> receiver_;
  ExchangeTrace trace_;
  Reader* reader_ = nullptr;   // set before streaming begins
  grpc::ByteBuffer received_;  // of the read under way
  Operation read_operation_{&ExchangeConnection::OnRead};
  Operation write_operation_{&ExchangeConnection::OnWritten};
  Operation finish_operation_{&ExchangeConnection::OnFinished};
  Operation overdue_operation_{&ExchangeConnection::OnLastWriteOverdue};
  grpc::Alarm overdue_;

  Mutex mutex_;  // guards the state below; taken last, no callback runs under it
  Writer* writer_ ABSL_GUARDED_BY(mutex_) = nullptr;
  SendQueue queue_ ABSL_GUARDED_BY(mutex_);
  SharedMemoryLink link_ ABSL_GUARDED_BY(mutex_);
  size_t waiting_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of tensors that may wait for others
  bool deferred_ ABSL_GUARDED_BY(mutex_) = false;     // RunDeferred follows
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;  // by Close
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;  // a write failed: the peer is gone, the read will say so
  bool finishing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status close_reason_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tessera

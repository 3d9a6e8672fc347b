#include "common/rpc/exchange_client.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <utility>

#include "common/rpc/channel.h"
#include "common/rpc/exchange_connection.h"
#include "common/rpc/status_mapping.h"

namespace tessera {
namespace {
constexpr char kExchangeMethod[] = "/tessera.wire.ParameterService/Exchange";
}  // namespace

class ExchangeClient::Connection : public ExchangeConnection {
 public:
  Connection(CompletionThread* thread, const std::string& address, std::shared_ptr<Outbox> outbox,
             std::shared_ptr<InboundLinks> inbound)
      : ExchangeConnection(
            thread, [outbox = std::move(outbox)] { return outbox; }, std::move(inbound)),
        queue_(thread->queue()),
        stub_(CreateChannel(address)),
        stream_(stub_.PrepareCall(&context_, kExchangeMethod, queue_)) {}

  void Begin() { stream_->StartCall(start_operation_.Begin(this)); }

 protected:
  void StartFinish(bool closed, const absl::Status&) override {
    if (closed) context_.TryCancel();  // the server has not ended the call: its status would never come
    stream_->Finish(&status_, BeginFinishOperation());
  }
  bool MayFinishWhileReading() const override { return false; }
  absl::Status FinalStatus(const absl::Status& reason) const override {
    return reason.ok() ? FromGrpcStatus(status_) : reason;
  }
  void Cancel() override { context_.TryCancel(); }

 private:
  // Adapts the base's handler type.
  void OnStarted(bool ok) {
    if (ok) {
      BeginStreaming(stream_.get(), stream_.get());
    } else {
      FailedToBegin();
    }
  }

  grpc::CompletionQueue* const queue_;
  grpc::ClientContext context_;
  grpc::GenericStub stub_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  grpc::Status status_;
  Operation start_operation_{static_cast<Operation::Handler>(&Connection::OnStarted)};
};

ExchangeClient::ExchangeClient(std::shared_ptr<Outbox> outbox, std::shared_ptr<InboundLinks> inbound,
                               std::shared_ptr<LinkFaults> faults)
    : outbox_(std::move(outbox)),
      inbound_(std::move(inbound)),
      faults_(std::move(faults)),
      thread_(std::make_unique<grpc::CompletionQueue>()) {}

ExchangeClient::~ExchangeClient() {
  std::vector<std::weak_ptr<Connection>> connections;
  {
    MutexLock lock(&mutex_);
    connections.swap(connections_);
  }
  for (const std::weak_ptr<Connection>& weak : connections) {
    if (auto connection = weak.lock()) connection->Close(absl::CancelledError("the client ends"));
  }
  thread_.Shutdown();
}

std::shared_ptr<ExchangeSender> ExchangeClient::Open(const std::string& address,
                                                     std::shared_ptr<ExchangeReceiver> receiver,
                                                     const ExchangeTrace& trace) {
  auto connection = std::make_shared<Connection>(&thread_, address, outbox_, inbound_);
  connection->set_receiver(std::move(receiver));
  connection->set_trace(trace);
  {
    MutexLock lock(&mutex_);
    std::erase_if(connections_, [](const std::weak_ptr<Connection>& weak) { return weak.expired(); });
    connections_.push_back(connection);
  }
  connection->Begin();
  return WithFaults(faults_.get(), std::move(connection));
}

}  // namespace tessera

#include "server/grpc_exchange_server.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "common/rpc/completion_thread.h"
#include "common/rpc/exchange_connection.h"
#include "common/rpc/status_mapping.h"
#include "common/status.h"
#include "proto/parameter_service.grpc.pb.h"

namespace tessera {
namespace {

using Stub = tessera::wire::ParameterService;
// Exchange is served as raw bytes by completion queues, GetStats by a synchronous handler.
using RawService = Stub::WithRawMethod_Exchange<Stub::Service>;

// The outbox of this process, once there is one. Thread-safe.
class OutboxSlot {
 public:
  void Set(std::shared_ptr<Outbox> outbox) {
    MutexLock lock(&mutex_);
    outbox_ = std::move(outbox);
  }
  std::shared_ptr<Outbox> Get() const {
    MutexLock lock(&mutex_);
    return outbox_;
  }

 private:
  mutable Mutex mutex_;
  std::shared_ptr<Outbox> outbox_ ABSL_GUARDED_BY(mutex_);
};

// One of the streams that are served at once, from its beginning to its end.
class StreamPlace {
 public:
  explicit StreamPlace(std::shared_ptr<std::atomic<int>> taken)
      : taken_(std::move(taken)), number_(++*taken_) {}
  ~StreamPlace() { --*taken_; }
  StreamPlace(const StreamPlace&) = delete;
  StreamPlace& operator=(const StreamPlace&) = delete;

  // How many there were when this one began, itself included.
  int number() const { return number_; }

 private:
  const std::shared_ptr<std::atomic<int>> taken_;
  const int number_;
};

// Of a stream that is refused.
class Nobody : public ExchangeReceiver {
 public:
  void OnMessage(ExchangeMessage) override {}
  void OnClosed(absl::Status) override {}
};

class Handler : public RawService {
 public:
  Handler(std::shared_ptr<ParameterService> service, const OutboxSlot* outbox)
      : service_(std::move(service)), outbox_(outbox) {}

  grpc::Status GetStats(grpc::ServerContext*, const wire::GetStatsRequest*,
                        wire::ServerStats* reply) override {
    Fill(reply);
    return grpc::Status::OK;
  }

 private:
  void Fill(wire::ServerStats* reply) const {
    const ServiceStats stats = service_->stats();
    reply->set_pushed_bytes(stats.pushed_bytes);
    reply->set_pulled_bytes(stats.pulled_bytes);
    reply->set_refused_messages(stats.refused_messages);
    if (const std::shared_ptr<Outbox> outbox = outbox_->Get()) {
      reply->set_shared_memory_bytes(outbox->shared_bytes());
      reply->set_shared_memory_full(outbox->segment()->refused());
    }
    const std::shared_ptr<ParameterStore> store = service_->store();
    if (store == nullptr) return;
    const auto [min_version, max_version] = store->VersionRange();
    reply->set_min_version(min_version);
    reply->set_max_version(max_version);
    reply->set_copied_tensor_bytes(store->copied_bytes());
    reply->set_parked_reads(static_cast<int64_t>(store->parked_reads()));
    const StalenessStats staleness = store->staleness();
    reply->set_staleness_pushes(staleness.pushes);
    reply->set_staleness_sum(staleness.sum);
    reply->set_staleness_max(staleness.max);
    for (int64_t count : staleness.histogram) reply->add_staleness_histogram(count);
    reply->set_clock_lead_max(staleness.clock_lead_max);
    for (const auto& [min, max] : store->AppliedRange()) {
      reply->add_applied_min(min);
      reply->add_applied_max(max);
    }
    reply->set_dropped(store->dropped());
  }

  const std::shared_ptr<ParameterService> service_;
  const OutboxSlot* const outbox_;
};

}  // namespace

struct GrpcExchangeServer::Impl {
  Impl(std::shared_ptr<ParameterService> parameter_service, TraceRecorder* trace_recorder, int most_streams,
       std::shared_ptr<LinkFaults> link_faults)
      : service(std::move(parameter_service)),
        recorder(trace_recorder),
        max_streams(most_streams),
        faults(std::move(link_faults)),
        handler(service, &outbox) {}

  const std::shared_ptr<ParameterService> service;
  TraceRecorder* const recorder;
  const int max_streams;
  const std::shared_ptr<std::atomic<int>> streams = std::make_shared<std::atomic<int>>(0);
  const std::shared_ptr<LinkFaults> faults;
  OutboxSlot outbox;
  const std::shared_ptr<InboundLinks> inbound = std::make_shared<InboundLinks>();
  Handler handler;
  std::vector<std::unique_ptr<CompletionThread>> threads;
  std::unique_ptr<Listener> listener;
  std::atomic<bool> stopping{false};

  void Accept(CompletionThread* thread);
};

class GrpcExchangeServer::Connection : public ExchangeConnection {
 public:
  Connection(Impl* impl, CompletionThread* thread)
      : ExchangeConnection(
            thread, [impl] { return impl->outbox.Get(); }, impl->inbound),
        impl_(impl),
        thread_(thread),
        stream_(&context_) {}

  void WaitForCall() {
    auto* queue = thread_->queue<grpc::ServerCompletionQueue>();
    impl_->handler.RequestExchange(&context_, &stream_, queue, queue, accept_operation_.Begin(this));
  }

 protected:
  void StartFinish(bool, const absl::Status& reason) override {
    stream_.Finish(ToGrpcStatus(reason), BeginFinishOperation());
  }
  bool MayFinishWhileReading() const override { return true; }
  absl::Status FinalStatus(const absl::Status& reason) const override { return reason; }
  void Cancel() override { context_.TryCancel(); }

 private:
  void OnAccepted(bool ok) {
    if (!ok) return Abandon();  // the server shuts down
    if (!impl_->stopping) impl_->Accept(thread_);
    place_.emplace(impl_->streams);
    if (place_->number() > impl_->max_streams) return Refuse();
    const auto trace = ExchangeTrace::To(impl_->recorder, "a client");
    set_trace(trace);
    set_receiver(impl_->service->NewSession(WithFaults(impl_->faults.get(), shared_from_this()), trace));
    BeginStreaming(&stream_, &stream_);
  }

  void Refuse() {
    set_receiver(std::make_shared<Nobody>());
    BeginStreaming(&stream_, &stream_);  // first, so that the peer learns the reason
    Close(absl::ResourceExhaustedError(
        absl::StrCat("this server has ", impl_->max_streams, " streams already")));
  }

  Impl* const impl_;
  std::optional<StreamPlace> place_;
  CompletionThread* const thread_;
  grpc::ServerContext context_;
  grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer> stream_;
  Operation accept_operation_{static_cast<Operation::Handler>(&Connection::OnAccepted)};
};

void GrpcExchangeServer::Impl::Accept(CompletionThread* thread) {
  std::make_shared<Connection>(this, thread)->WaitForCall();
}

absl::StatusOr<std::unique_ptr<GrpcExchangeServer>> GrpcExchangeServer::Start(
    const ListenOptions& options, std::shared_ptr<ParameterService> service, int threads,
    TraceRecorder* recorder, std::shared_ptr<LinkFaults> faults) {
  auto impl =
      std::make_unique<Impl>(std::move(service), recorder, options.max_exchange_streams, std::move(faults));
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
  TESSERA_ASSIGN_OR_RETURN(impl->listener,
                           Listener::Start(options, {&impl->handler}, [&](grpc::ServerBuilder* builder) {
                             for (int i = 0; i < threads; ++i)
                               queues.push_back(builder->AddCompletionQueue());
                           }));
  for (auto& queue : queues) {
    impl->threads.push_back(std::make_unique<CompletionThread>(std::move(queue)));
    impl->Accept(impl->threads.back().get());
  }
  return std::unique_ptr<GrpcExchangeServer>(new GrpcExchangeServer(std::move(impl)));
}

GrpcExchangeServer::GrpcExchangeServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

GrpcExchangeServer::~GrpcExchangeServer() { Shutdown(); }

void GrpcExchangeServer::set_outbox(std::shared_ptr<Outbox> outbox) { impl_->outbox.Set(std::move(outbox)); }

const std::string& GrpcExchangeServer::address() const { return impl_->listener->address(); }

void GrpcExchangeServer::Shutdown() {
  impl_->stopping = true;
  impl_->service->Close();
  impl_->listener->Shutdown(absl::Milliseconds(200));
  for (auto& thread : impl_->threads) thread->Shutdown();
}

}  // namespace tessera

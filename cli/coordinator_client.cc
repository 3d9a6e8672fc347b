#include "cli/coordinator_client.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <deque>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/mutex.h"
#include "common/rpc/channel.h"
#include "common/rpc/status_mapping.h"
#include "common/text.h"
#include "proto/coordinator_service.grpc.pb.h"

namespace tessera::cli {
namespace {

// gRPC's own words for a refused connection are long and name file descriptors.
absl::Status Translate(const std::string& address, const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return absl::UnavailableError(absl::StrCat("no coordinator answers at ", address));
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::DeadlineExceededError(
          absl::StrCat("the coordinator at ", address, " did not answer in time"));
    default:
      return FromGrpcStatus(status);
  }
}

// As nodes name theirs when they register (common/rpc/node_agent.cc).
std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

// Tells the coordinator of exits, one after the other, on a thread of its own (the callback API ends calls
// on threads that outlive their caller). Thread-safe.
class ExitReporter {
 public:
  explicit ExitReporter(wire::CoordinatorService::Stub* service) : service_(service) {}
  ~ExitReporter() {
    {
      MutexLock lock(&mutex_);
      stopping_ = true;
      if (current_ != nullptr) current_->TryCancel();
      changed_.NotifyAll();
    }
    if (thread_.joinable()) thread_.join();
  }

  void Add(wire::ReportExitRequest request, absl::Time deadline) {
    MutexLock lock(&mutex_);
    if (waiting_.size() == kMostWaiting) return;
    waiting_.push_back({std::move(request), deadline});
    if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
    changed_.NotifyAll();
  }

 private:
  static constexpr size_t kMostWaiting = 64;
  struct Report {
    wire::ReportExitRequest request;
    absl::Time deadline;
  };

  void Run() {
    while (true) {
      grpc::ClientContext context;
      Report report;
      {
        MutexLock lock(&mutex_);
        while (waiting_.empty() && !stopping_) changed_.WaitWithTimeout(&mutex_, absl::Seconds(60));
        if (stopping_) return;
        report = std::move(waiting_.front());
        waiting_.pop_front();
        SetDeadline(&context, report.deadline - absl::Now());
        context.set_wait_for_ready(true);
        current_ = &context;
      }
      wire::ReportExitReply reply;
      (void)service_->ReportExit(&context, report.request, &reply);  // best effort
      MutexLock lock(&mutex_);
      current_ = nullptr;
    }
  }

  wire::CoordinatorService::Stub* const service_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<Report> waiting_ ABSL_GUARDED_BY(mutex_);
  grpc::ClientContext* current_ ABSL_GUARDED_BY(mutex_) = nullptr;  // of the call under way
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_ ABSL_GUARDED_BY(mutex_);  // once there was something to tell
};

}  // namespace

struct CoordinatorClient::Stub {
  explicit Stub(const std::string& address)
      : service(wire::CoordinatorService::NewStub(CreateChannel(address))), exits(service.get()) {}

  const std::unique_ptr<wire::CoordinatorService::Stub> service;
  ExitReporter exits;
};

CoordinatorClient::CoordinatorClient(const std::string& address)
    : address_(address), stub_(std::make_unique<Stub>(address)) {}

CoordinatorClient::~CoordinatorClient() = default;

void CoordinatorClient::ReportExit(int64_t pid, const std::string& message, absl::Duration timeout) {
  wire::ReportExitRequest request;
  request.set_host(HostName());
  request.set_pid(pid);
  request.set_message(PrintableLine(message));
  stub_->exits.Add(std::move(request), absl::Now() + timeout);
}

absl::StatusOr<wire::JobStatus> CoordinatorClient::GetStatus(absl::Duration timeout) {
  grpc::ClientContext context;
  SetDeadline(&context, timeout);
  wire::JobStatus reply;
  const grpc::Status status = stub_->service->GetStatus(&context, wire::GetStatusRequest(), &reply);
  if (!status.ok()) return Translate(address_, status);
  return reply;
}

absl::Status CoordinatorClient::Stop(absl::Duration timeout) {
  grpc::ClientContext context;
  SetDeadline(&context, timeout);
  wire::StopReply reply;
  return Translate(address_, stub_->service->Stop(&context, wire::StopRequest(), &reply));
}

absl::StatusOr<int64_t> CoordinatorClient::TakeCheckpoint(absl::Duration timeout) {
  grpc::ClientContext context;
  SetDeadline(&context, timeout);
  wire::TakeCheckpointReply reply;
  const grpc::Status status = stub_->service->TakeCheckpoint(&context, wire::TakeCheckpointRequest(), &reply);
  if (!status.ok()) return Translate(address_, status);
  return reply.clock();
}

}  // namespace tessera::cli

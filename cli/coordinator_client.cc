#include "cli/coordinator_client.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <set>

#include "absl/strings/str_cat.h"
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

}  // namespace

// A call that nobody waits for, but for the destructor.
struct ExitReport {
  grpc::ClientContext context;
  wire::ReportExitRequest request;
  wire::ReportExitReply reply;
};

struct CoordinatorClient::Stub {
  std::unique_ptr<wire::CoordinatorService::Stub> service;
  Mutex mutex;  // guards what follows; not held in calls into gRPC, which may end others at once
  CondVar ended;
  std::set<std::shared_ptr<ExitReport>> reports ABSL_GUARDED_BY(mutex);  // under way
};

CoordinatorClient::CoordinatorClient(const std::string& address)
    : address_(address), stub_(std::make_unique<Stub>()) {
  stub_->service = wire::CoordinatorService::NewStub(CreateChannel(address));
}

CoordinatorClient::~CoordinatorClient() {
  std::set<std::shared_ptr<ExitReport>> reports;
  {
    MutexLock lock(&stub_->mutex);
    reports = stub_->reports;
  }
  for (const std::shared_ptr<ExitReport>& report : reports) report->context.TryCancel();
  MutexLock lock(&stub_->mutex);
  while (!stub_->reports.empty()) {
    stub_->ended.WaitWithTimeout(&stub_->mutex, absl::Seconds(1));
  }
}

void CoordinatorClient::ReportExit(int64_t pid, const std::string& message, absl::Duration timeout) {
  auto report = std::make_shared<ExitReport>();
  SetDeadline(&report->context, timeout);
  report->context.set_wait_for_ready(true);
  report->request.set_host(HostName());
  report->request.set_pid(pid);
  report->request.set_message(PrintableLine(message));
  {
    MutexLock lock(&stub_->mutex);
    stub_->reports.insert(report);
  }
  const auto end = [stub = stub_.get(), report](const grpc::Status&) {
    MutexLock lock(&stub->mutex);
    stub->reports.erase(report);
    stub->ended.NotifyAll();
  };
  stub_->service->async()->ReportExit(&report->context, &report->request, &report->reply, end);
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

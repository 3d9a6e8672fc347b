#include "cli/coordinator_client.h"

#include <grpcpp/grpcpp.h>

#include "absl/strings/str_cat.h"
#include "common/rpc/channel.h"
#include "common/rpc/status_mapping.h"
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

}  // namespace

struct CoordinatorClient::Stub {
  std::unique_ptr<wire::CoordinatorService::Stub> service;
};

CoordinatorClient::CoordinatorClient(const std::string& address)
    : address_(address), stub_(new Stub{wire::CoordinatorService::NewStub(CreateChannel(address))}) {}

CoordinatorClient::~CoordinatorClient() = default;

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
  const grpc::Status status =
      stub_->service->TakeCheckpoint(&context, wire::TakeCheckpointRequest(), &reply);
  if (!status.ok()) return Translate(address_, status);
  return reply.clock();
}

}  // namespace tessera::cli

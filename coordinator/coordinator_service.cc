#include "coordinator/coordinator_service.h"

#include <grpcpp/grpcpp.h>

#include "common/rpc/status_mapping.h"

namespace tessera {
namespace {

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

}  // namespace

grpc::ServerUnaryReactor* CoordinatorService::Register(grpc::CallbackServerContext* context,
                                                       const wire::RegisterRequest* request,
                                                       wire::RegisterReply* reply) {
  return Answer(context, coordinator_->Register(*request, reply));
}

grpc::ServerUnaryReactor* CoordinatorService::Heartbeat(grpc::CallbackServerContext* context,
                                                        const wire::HeartbeatRequest* request,
                                                        wire::HeartbeatReply* reply) {
  return Answer(context, coordinator_->Heartbeat(*request, reply));
}

grpc::ServerUnaryReactor* CoordinatorService::GetClusterMap(grpc::CallbackServerContext* context,
                                                            const wire::GetClusterMapRequest* request,
                                                            wire::ClusterMap* reply) {
  return Answer(context, coordinator_->GetClusterMap(*request, reply));
}

grpc::ServerUnaryReactor* CoordinatorService::ReportEvaluation(grpc::CallbackServerContext* context,
                                                               const wire::ReportEvaluationRequest* request,
                                                               wire::ReportEvaluationReply* reply) {
  return Answer(context, coordinator_->ReportEvaluation(*request, reply));
}

grpc::ServerUnaryReactor* CoordinatorService::ReportFailure(grpc::CallbackServerContext* context,
                                                            const wire::ReportFailureRequest* request,
                                                            wire::ReportFailureReply* reply) {
  return Answer(context, coordinator_->ReportFailure(*request, reply));
}

grpc::ServerUnaryReactor* CoordinatorService::ReportExit(grpc::CallbackServerContext* context,
                                                         const wire::ReportExitRequest* request,
                                                         wire::ReportExitReply* reply) {
  return Answer(context, coordinator_->ReportExit(*request, reply));
}

grpc::ServerUnaryReactor* CoordinatorService::ReportCheckpoint(grpc::CallbackServerContext* context,
                                                               const wire::ReportCheckpointRequest* request,
                                                               wire::ReportCheckpointReply* reply) {
  return Answer(context, coordinator_->ReportCheckpoint(*request, reply));
}

grpc::ServerUnaryReactor* CoordinatorService::TakeCheckpoint(grpc::CallbackServerContext* context,
                                                             const wire::TakeCheckpointRequest* request,
                                                             wire::TakeCheckpointReply* reply) {
  return Answer(context, coordinator_->TakeCheckpoint(*request, reply));
}

grpc::ServerUnaryReactor* CoordinatorService::GetStatus(grpc::CallbackServerContext* context,
                                                        const wire::GetStatusRequest* request,
                                                        wire::JobStatus* reply) {
  return Answer(context, coordinator_->GetStatus(*request, reply));
}

grpc::ServerUnaryReactor* CoordinatorService::Stop(grpc::CallbackServerContext* context,
                                                   const wire::StopRequest* request, wire::StopReply* reply) {
  return Answer(context, coordinator_->Stop(*request, reply));
}

}  // namespace tessera

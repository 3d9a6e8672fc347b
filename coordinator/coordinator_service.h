// CoordinatorService of proto/coordinator_service.proto over gRPC: every call goes to the Coordinator and is
// answered at once, on gRPC's thread.
#pragma once

#include "coordinator/coordinator.h"
#include "proto/coordinator_service.grpc.pb.h"

namespace tessera {

class CoordinatorService : public wire::CoordinatorService::CallbackService {
 public:
  // `coordinator` outlives the server that this is registered with.
  explicit CoordinatorService(Coordinator* coordinator) : coordinator_(coordinator) {}

  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context,
                                     const wire::RegisterRequest* request,
                                     wire::RegisterReply* reply) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context,
                                      const wire::HeartbeatRequest* request,
                                      wire::HeartbeatReply* reply) override;
  grpc::ServerUnaryReactor* GetClusterMap(grpc::CallbackServerContext* context,
                                          const wire::GetClusterMapRequest* request,
                                          wire::ClusterMap* reply) override;
  grpc::ServerUnaryReactor* ReportEvaluation(grpc::CallbackServerContext* context,
                                             const wire::ReportEvaluationRequest* request,
                                             wire::ReportEvaluationReply* reply) override;
  grpc::ServerUnaryReactor* ReportFailure(grpc::CallbackServerContext* context,
                                          const wire::ReportFailureRequest* request,
                                          wire::ReportFailureReply* reply) override;
  grpc::ServerUnaryReactor* ReportExit(grpc::CallbackServerContext* context,
                                       const wire::ReportExitRequest* request,
                                       wire::ReportExitReply* reply) override;
  grpc::ServerUnaryReactor* ReportCheckpoint(grpc::CallbackServerContext* context,
                                             const wire::ReportCheckpointRequest* request,
                                             wire::ReportCheckpointReply* reply) override;
  grpc::ServerUnaryReactor* TakeCheckpoint(grpc::CallbackServerContext* context,
                                           const wire::TakeCheckpointRequest* request,
                                           wire::TakeCheckpointReply* reply) override;
  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const wire::GetStatusRequest* request, wire::JobStatus* reply) override;
  grpc::ServerUnaryReactor* Stop(grpc::CallbackServerContext* context, const wire::StopRequest* request,
                                 wire::StopReply* reply) override;

 private:
  Coordinator* const coordinator_;
};

}  // namespace tessera

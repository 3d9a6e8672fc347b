// A coordinator that answers as a test says, and keeps what it was told.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/mutex.h"
#include "common/rpc/listener.h"
#include "common/rpc/status_mapping.h"
#include "proto/coordinator_service.grpc.pb.h"

namespace tessera {

// Thread-safe. Every wait ends after 20 s.
class FakeCoordinator : public wire::CoordinatorService::Service {
 public:
  // What it answers; changed by Set.
  struct Script {
    wire::RegisterReply registration;
    absl::Status heartbeat_status;
    wire::HeartbeatReply heartbeat;
    absl::Status map_status;
    wire::ClusterMap map;
    std::function<absl::Status(const wire::ReportEvaluationRequest&)> on_evaluation;
    std::function<absl::Status(const wire::ReportCheckpointRequest&)> on_checkpoint;
  };
  struct Heard {
    std::vector<wire::RegisterRequest> registrations;
    std::vector<wire::HeartbeatRequest> heartbeats;
    std::vector<wire::GetClusterMapRequest> map_requests;
    std::vector<wire::ReportEvaluationRequest> evaluations;  // every try
    std::vector<wire::ReportCheckpointRequest> checkpoints;
    std::vector<wire::ReportFailureRequest> failures;
  };

  // Heartbeats are a minute apart: only those that something asks for come.
  FakeCoordinator() {
    script_.registration.set_node_id(7);
    script_.registration.set_lease_ms(60000);
    script_.registration.set_heartbeat_ms(60000);
    Start();
  }
  ~FakeCoordinator() override { Close(); }

  void Start() {
    absl::StatusOr<std::unique_ptr<Listener>> listener = Listener::Start({.bind = address_}, {this});
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
    address_ = listener_->address();
  }
  void Close() {
    if (listener_ != nullptr) listener_->Shutdown(absl::ZeroDuration());
    listener_ = nullptr;
  }
  const std::string& address() const { return address_; }

  void Set(const std::function<void(Script&)>& change) {
    MutexLock lock(&mutex_);
    change(script_);
  }
  // Waits until `enough` of what was heard.
  Heard WaitFor(const std::function<bool(const Heard&)>& enough) {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    MutexLock lock(&mutex_);
    while (!enough(heard_) && absl::Now() < deadline)
      changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
    EXPECT_TRUE(enough(heard_)) << "not heard in 20 s";
    return heard_;
  }
  Heard heard() {
    MutexLock lock(&mutex_);
    return heard_;
  }
  Heard WaitForHeartbeats(size_t count) {
    return WaitFor([count](const Heard& heard) { return heard.heartbeats.size() >= count; });
  }
  // Heartbeats are taken and not answered until `closed` is false.
  void CloseGate(bool closed) {
    MutexLock lock(&mutex_);
    gate_closed_ = closed;
    changed_.NotifyAll();
  }

  grpc::Status Register(grpc::ServerContext*, const wire::RegisterRequest* request,
                        wire::RegisterReply* reply) override {
    MutexLock lock(&mutex_);
    Keep(&heard_.registrations, *request);
    *reply = script_.registration;
    return grpc::Status::OK;
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const wire::HeartbeatRequest* request,
                         wire::HeartbeatReply* reply) override {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    MutexLock lock(&mutex_);
    Keep(&heard_.heartbeats, *request);
    while (gate_closed_ && absl::Now() < deadline) changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
    *reply = script_.heartbeat;
    return ToGrpcStatus(script_.heartbeat_status);
  }
  grpc::Status GetClusterMap(grpc::ServerContext*, const wire::GetClusterMapRequest* request,
                             wire::ClusterMap* map) override {
    MutexLock lock(&mutex_);
    Keep(&heard_.map_requests, *request);
    *map = script_.map;
    return ToGrpcStatus(script_.map_status);
  }
  grpc::Status ReportEvaluation(grpc::ServerContext*, const wire::ReportEvaluationRequest* request,
                                wire::ReportEvaluationReply*) override {
    MutexLock lock(&mutex_);
    Keep(&heard_.evaluations, *request);
    return ToGrpcStatus(script_.on_evaluation ? script_.on_evaluation(*request) : absl::OkStatus());
  }
  grpc::Status ReportCheckpoint(grpc::ServerContext*, const wire::ReportCheckpointRequest* request,
                                wire::ReportCheckpointReply*) override {
    MutexLock lock(&mutex_);
    Keep(&heard_.checkpoints, *request);
    return ToGrpcStatus(script_.on_checkpoint ? script_.on_checkpoint(*request) : absl::OkStatus());
  }
  grpc::Status ReportFailure(grpc::ServerContext*, const wire::ReportFailureRequest* request,
                             wire::ReportFailureReply*) override {
    MutexLock lock(&mutex_);
    Keep(&heard_.failures, *request);
    return grpc::Status::OK;
  }

 private:
  template <typename T>
  void Keep(std::vector<T>* kept, const T& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    kept->push_back(message);
    changed_.NotifyAll();
  }

  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<Listener> listener_;
  Mutex mutex_;
  CondVar changed_;
  Script script_ ABSL_GUARDED_BY(mutex_);
  Heard heard_ ABSL_GUARDED_BY(mutex_);
  bool gate_closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tessera

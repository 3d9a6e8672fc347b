#include "common/rpc/node_agent.h"

#include <grpcpp/grpcpp.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/protocol.h"
#include "common/rpc/backoff.h"
#include "common/rpc/channel.h"
#include "common/rpc/status_mapping.h"
#include "common/status.h"
#include "common/text.h"

namespace tessera {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(2);
constexpr absl::Duration kShortestCall = absl::Milliseconds(50);
constexpr absl::Duration kWaitSlice = absl::Seconds(5);

std::string NewIncarnation() {
  std::random_device device;
  return absl::StrCat(absl::Hex(device(), absl::kZeroPad8), absl::Hex(device(), absl::kZeroPad8), "-",
                      getpid());
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

bool MayRetry(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

}  // namespace

absl::StatusOr<std::unique_ptr<NodeAgent>> NodeAgent::Join(const NodeOptions& options) {
  auto stub = wire::CoordinatorService::NewStub(CreateChannel(options.coordinator));
  wire::RegisterRequest request;
  request.set_protocol_version(kProtocolVersion);
  request.set_build_version(kBuildVersion);
  request.set_kind(options.kind);
  request.set_address(options.address);
  request.set_host(HostName());
  request.set_pid(getpid());
  request.set_incarnation(NewIncarnation());
  request.set_fingerprint(options.fingerprint);

  const absl::Time start = absl::Now();
  Backoff backoff(absl::Milliseconds(50), absl::Seconds(1));
  absl::Time next_line = start + absl::Seconds(2);
  while (true) {
    grpc::ClientContext context;
    SetDeadline(&context, kCallTimeout);
    wire::RegisterReply reply;
    const absl::Status status = FromGrpcStatus(stub->Register(&context, request, &reply));
    if (status.ok()) {
      return std::unique_ptr<NodeAgent>(
          new NodeAgent(options, std::move(stub), request.incarnation(), std::move(reply)));
    }
    if (!MayRetry(status)) return status;
    if (options.give_up && options.give_up()) return absl::CancelledError("interrupted by a signal");
    const absl::Duration waited = absl::Now() - start;
    if (waited >= options.patience) {
      return absl::UnavailableError(absl::StrCat("no coordinator at ", options.coordinator, " within ",
                                                 absl::FormatDuration(options.patience), ": ",
                                                 status.message()));
    }
    if (absl::Now() >= next_line) {
      spdlog::info("waiting for the coordinator at {}, {} s", options.coordinator,
                   absl::ToInt64Seconds(waited));
      next_line = absl::Now() + kWaitSlice;
    }
    backoff.Wait();
  }
}

NodeAgent::NodeAgent(NodeOptions options, std::unique_ptr<wire::CoordinatorService::Stub> stub,
                     std::string incarnation, wire::RegisterReply registration)
    : options_(std::move(options)),
      stub_(std::move(stub)),
      incarnation_(std::move(incarnation)),
      registration_(std::move(registration)),
      name_(absl::StrCat(options_.kind == wire::SERVER ? "server " : "worker ", registration_.index())),
      lease_(absl::Milliseconds(registration_.lease_ms())),
      jitter_(std::random_device{}()) {
  thread_ = std::thread([this] { RunHeartbeats(); });
}

NodeAgent::~NodeAgent() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void NodeAgent::set_progress_source(std::function<void(wire::HeartbeatRequest*)> source) {
  MutexLock lock(&mutex_);
  progress_source_ = std::move(source);
}

void NodeAgent::set_on_end(std::function<void(absl::Status)> on_end) {
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    if (!ended_) {
      on_end_ = std::move(on_end);
      return;
    }
    status = end_status_;
  }
  if (on_end) on_end(std::move(status));
}

absl::Duration NodeAgent::NextDelay() {
  // +-10 %, so that the heartbeats of many nodes do not march in step.
  std::uniform_real_distribution<double> factor(0.9, 1.1);
  return absl::Milliseconds(std::max<int64_t>(registration_.heartbeat_ms(), 10)) * factor(jitter_);
}

void NodeAgent::RunHeartbeats() {
  absl::Time renewed = absl::Now();
  absl::Time next = absl::Now();
  while (true) {
    {
      MutexLock lock(&mutex_);
      while (!stopping_ && !ended_ && absl::Now() < next)
        changed_.WaitWithTimeout(&mutex_, next - absl::Now());
      if (stopping_ || ended_) return;
    }
    const absl::Duration left = std::max(renewed + lease_ - absl::Now(), kShortestCall);
    const absl::Status status = Heartbeat(/*leaving=*/false, left);
    if (status.ok()) {
      renewed = absl::Now();
    } else if (!MayRetry(status)) {
      End(Annotate(status,
                   absl::StrCat("the coordinator at ", options_.coordinator, " refused a heartbeat")));
    } else if (absl::Now() >= renewed + lease_) {
      End(absl::UnavailableError(absl::StrCat("lost the coordinator at ", options_.coordinator,
                                              ": no answer for ", absl::FormatDuration(lease_), " (",
                                              status.message(), ")")));
    }
    next = std::min(absl::Now() + NextDelay(), renewed + lease_);
  }
}

absl::Status NodeAgent::Heartbeat(bool leaving, absl::Duration timeout) {
  wire::HeartbeatRequest request;
  request.set_node_id(registration_.node_id());
  request.set_incarnation(incarnation_);
  request.set_leaving(leaving);
  std::function<void(wire::HeartbeatRequest*)> source;
  {
    MutexLock lock(&mutex_);
    source = progress_source_;
  }
  if (source) source(&request);
  grpc::ClientContext context;
  SetDeadline(&context, std::min({kCallTimeout, lease_ / 3, timeout}));
  wire::HeartbeatReply reply;
  TESSERA_RETURN_IF_ERROR(FromGrpcStatus(stub_->Heartbeat(&context, request, &reply)));
  if (!leaving) OnPhase(reply);
  return absl::OkStatus();
}

void NodeAgent::OnPhase(const wire::HeartbeatReply& reply) {
  {
    MutexLock lock(&mutex_);
    phase_ = reply.phase();
    waiting_for_ = reply.message();
    changed_.NotifyAll();
  }
  if (reply.phase() == wire::FAILED) End(absl::AbortedError(reply.message()));
  if (reply.phase() == wire::DONE || reply.phase() == wire::STOPPED) End(absl::OkStatus());
}

void NodeAgent::End(absl::Status status) {
  std::function<void(absl::Status)> on_end;
  {
    MutexLock lock(&mutex_);
    if (ended_) return;
    ended_ = true;
    end_status_ = status;
    on_end = std::move(on_end_);
    changed_.NotifyAll();
  }
  if (on_end) on_end(status);
}

void NodeAgent::Interrupt(absl::Status reason) { End(std::move(reason)); }

absl::StatusOr<wire::ClusterMap> NodeAgent::WaitForMap() {
  absl::Time next_line = absl::Now() + kWaitSlice;
  {
    MutexLock lock(&mutex_);
    while (!ended_ && phase_ == wire::WAITING) {
      changed_.WaitWithTimeout(&mutex_, kWaitSlice);
      if (ended_ || phase_ != wire::WAITING || absl::Now() < next_line) continue;
      spdlog::info("{}", waiting_for_);
      next_line = absl::Now() + 6 * kWaitSlice;
    }
    if (ended_) return end_status_.ok() ? absl::CancelledError("the job is over") : end_status_;
  }
  Backoff backoff(absl::Milliseconds(50), absl::Seconds(1));
  while (true) {
    grpc::ClientContext context;
    SetDeadline(&context, kCallTimeout);
    wire::GetClusterMapRequest request;
    request.set_node_id(registration_.node_id());
    request.set_incarnation(incarnation_);
    wire::ClusterMap map;
    const absl::Status status = FromGrpcStatus(stub_->GetClusterMap(&context, request, &map));
    if (status.ok()) return map;
    if (!MayRetry(status)) return status;
    {
      MutexLock lock(&mutex_);
      if (ended_) return end_status_.ok() ? absl::CancelledError("the job is over") : end_status_;
    }
    backoff.Wait();
  }
}

absl::Status NodeAgent::WaitForEnd() {
  MutexLock lock(&mutex_);
  while (!ended_)
    changed_.WaitWithTimeout(&mutex_, absl::Seconds(60));  // the heartbeat thread bounds the wait
  return end_status_;
}

void NodeAgent::ReportProgress() { Heartbeat(/*leaving=*/false, kCallTimeout).IgnoreError(); }

absl::Status NodeAgent::ReportEvaluation(wire::ReportEvaluationRequest request) {
  request.set_node_id(registration_.node_id());
  request.set_incarnation(incarnation_);
  Backoff backoff(absl::Milliseconds(50), absl::Seconds(1));
  while (true) {
    grpc::ClientContext context;
    SetDeadline(&context, kCallTimeout);
    wire::ReportEvaluationReply reply;
    const absl::Status status = FromGrpcStatus(stub_->ReportEvaluation(&context, request, &reply));
    if (status.ok() || !MayRetry(status)) return status;
    {
      MutexLock lock(&mutex_);
      if (ended_) return end_status_.ok() ? absl::CancelledError("the job is over") : end_status_;
    }
    backoff.Wait();
  }
}

absl::Status NodeAgent::Conclude(absl::Status own, int lost_node_id) {
  if (own.ok()) return own;
  bool ended = false;
  {
    MutexLock lock(&mutex_);
    ended = ended_;
  }
  const bool answered = ended || Heartbeat(/*leaving=*/false, kCallTimeout).ok();
  {
    MutexLock lock(&mutex_);
    // A lost peer beside a silent coordinator: it may be the coordinator that died, and the peer that noticed
    // it first.
    const absl::Time deadline = absl::Now() + lease_ + kCallTimeout;
    while (!answered && absl::IsUnavailable(own) && !ended_ && absl::Now() < deadline) {
      changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
    }
    if (ended_) return end_status_;
  }
  ReportFailure(own, lost_node_id);
  return own;
}

bool NodeAgent::coordinator_lost() {
  MutexLock lock(&mutex_);
  return absl::IsUnavailable(end_status_);
}

void NodeAgent::ReportFailure(const absl::Status& failure, int lost_node_id) {
  wire::ReportFailureRequest request;
  request.set_node_id(registration_.node_id());
  request.set_incarnation(incarnation_);
  request.set_message(PrintableLine(failure.message()));
  request.set_lost_node_id(lost_node_id);
  grpc::ClientContext context;
  SetDeadline(&context, kCallTimeout);
  wire::ReportFailureReply reply;
  const absl::Status status = FromGrpcStatus(stub_->ReportFailure(&context, request, &reply));
  if (!status.ok())
    spdlog::warn("the coordinator did not take the report of a failure: {}", std::string(status.message()));
}

void NodeAgent::Leave() {
  if (coordinator_lost()) return;
  const absl::Status status = Heartbeat(/*leaving=*/true, kCallTimeout);
  if (!status.ok()) spdlog::info("left without a word to the coordinator: {}", std::string(status.message()));
}

}  // namespace tessera

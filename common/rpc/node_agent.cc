#include "common/rpc/node_agent.h"

#include <grpcpp/grpcpp.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/check.h"
#include "common/protocol.h"
#include "common/rpc/backoff.h"
#include "common/rpc/channel.h"
#include "common/rpc/status_mapping.h"
#include "common/status.h"
#include "common/text.h"

namespace tessera {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(2);
constexpr absl::Duration kShortestCall = absl::Milliseconds(100);
constexpr absl::Duration kWaitSlice = absl::Seconds(5);
constexpr absl::Duration kLongestWait = absl::Seconds(60);  // of a wait that another thread ends
// Between two heartbeats, whatever is asked for.
constexpr absl::Duration kShortestInterval = absl::Milliseconds(10);
constexpr absl::Duration kFirstDelay = absl::Milliseconds(50);
constexpr absl::Duration kLongestDelay = absl::Seconds(1);
constexpr absl::Duration kLongestMapDelay = absl::Milliseconds(200);
// Heartbeats in a row without an answer: one may get lost.
constexpr int kAway = 2;
constexpr char kEvicted[] = "tessera/evicted";  // names a payload of a status

std::string NewIncarnation() {
  std::random_device device;
  return absl::StrCat(absl::Hex(device(), absl::kZeroPad8), absl::Hex(device(), absl::kZeroPad8), "-",
                      getpid());
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

// Cancelled: by a coordinator that ends; unknown: by gRPC, when the connection broke at an odd moment.
bool MayRetry(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsCancelled(status) ||
         absl::IsUnknown(status);
}

wire::RegisterRequest Introduction(const NodeOptions& options) {
  wire::RegisterRequest request;
  request.set_protocol_version(kProtocolVersion);
  request.set_build_version(kBuildVersion);
  request.set_kind(options.kind);
  request.set_address(options.address);
  request.set_host(HostName());
  request.set_pid(getpid());
  request.set_incarnation(NewIncarnation());
  request.set_fingerprint(options.fingerprint);
  return request;
}

absl::Status EvictedStatus(absl::string_view why) {
  absl::Status status = absl::NotFoundError(why);
  status.SetPayload(kEvicted, absl::Cord());
  return status;
}

}  // namespace

bool NodeAgent::Evicted(const absl::Status& status) { return status.GetPayload(kEvicted).has_value(); }

absl::StatusOr<std::unique_ptr<NodeAgent>> NodeAgent::Join(const NodeOptions& options) {
  auto link = std::make_unique<CoordinatorLink>(options.coordinator, options.faults);
  const wire::RegisterRequest request = Introduction(options);
  const absl::Time start = absl::Now();
  Backoff backoff(kFirstDelay, kLongestDelay);
  absl::Time next_line = start + absl::Seconds(2);
  while (true) {
    grpc::ClientContext context;
    SetDeadline(&context, kCallTimeout);
    wire::RegisterReply reply;
    const absl::Status status = FromGrpcStatus(link->stub()->Register(&context, request, &reply));
    if (status.ok()) {
      return std::unique_ptr<NodeAgent>(
          new NodeAgent(options, std::move(link), request.incarnation(), std::move(reply)));
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
    link->TryNext();
  }
}

NodeAgent::NodeAgent(NodeOptions options, std::unique_ptr<CoordinatorLink> link, std::string incarnation,
                     wire::RegisterReply registration)
    : options_(std::move(options)),
      link_(std::move(link)),
      incarnation_(std::move(incarnation)),
      registration_(std::move(registration)),
      name_(absl::StrCat(options_.kind == wire::SERVER ? "server " : "worker ", registration_.index())),
      lease_(absl::Milliseconds(registration_.lease_ms())),
      interval_(std::max(absl::Milliseconds(registration_.heartbeat_ms()), kShortestInterval)),
      renewed_(absl::Now()),
      report_delay_(kFirstDelay),
      jitter_(std::random_device{}()) {
  thread_ = std::thread([this] { Run(); });
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

void NodeAgent::set_on_new_term(std::function<void(int64_t)> on_new_term) {
  MutexLock lock(&mutex_);
  on_new_term_ = std::move(on_new_term);
  changed_.NotifyAll();
}

void NodeAgent::set_on_checkpoint(std::function<void(Clock)> on_checkpoint) {
  MutexLock lock(&mutex_);
  on_checkpoint_ = std::move(on_checkpoint);
  changed_.NotifyAll();
}

Clock NodeAgent::checkpoint_clock() {
  MutexLock lock(&mutex_);
  return checkpoint_clock_;
}

absl::Duration NodeAgent::CallTimeout() const { return std::clamp(lease_ / 3, kShortestCall, kCallTimeout); }

double NodeAgent::Jitter() { return std::uniform_real_distribution<double>(0.9, 1.1)(jitter_); }

void NodeAgent::Run() {
  while (true) {
    switch (WaitForWork()) {
      case Work::kNothing:
        return;
      case Work::kNews:
        TellNews();
        break;
      case Work::kHeartbeat:
        Renew();
        break;
      case Work::kReport:
        DeliverReport();
        break;
    }
  }
}

NodeAgent::Work NodeAgent::WaitForWork() {
  MutexLock lock(&mutex_);
  while (true) {
    if (stopping_ || ended_) return Work::kNothing;
    if (IsNewTermLocked() || IsNewCheckpointLocked()) return Work::kNews;
    const absl::Time now = absl::Now();
    absl::Time next = HeartbeatAtLocked();
    if (now >= next) return Work::kHeartbeat;
    if (!reports_.empty()) {
      if (now >= next_report_) return Work::kReport;
      next = std::min(next, next_report_);
    }
    changed_.WaitWithTimeout(&mutex_, next - now);
  }
}

absl::Time NodeAgent::HeartbeatAtLocked() const {
  const absl::Time next = std::min(next_heartbeat_, drain_until_);
  if (!poked_ || unanswered_ > 0) return next;
  return std::min(next, last_heartbeat_ + kShortestInterval);
}

bool NodeAgent::IsNewTermLocked() const {
  return on_new_term_ != nullptr && newest_term_ > std::max(adopted_term_, announced_term_);
}

bool NodeAgent::IsNewCheckpointLocked() const {
  return on_checkpoint_ != nullptr && checkpoint_clock_ != 0 && checkpoint_clock_ != announced_checkpoint_;
}

bool NodeAgent::Pause(absl::Duration time) {
  const absl::Time deadline = absl::Now() + time;
  MutexLock lock(&mutex_);
  while (!ended_ && !stopping_ && absl::Now() < deadline)
    changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
  return !ended_ && !stopping_;
}

void NodeAgent::TellNews() {
  std::function<void(int64_t)> on_new_term;
  std::function<void(Clock)> on_checkpoint;
  int64_t term = 0;
  Clock clock = 0;
  {
    MutexLock lock(&mutex_);
    if (IsNewTermLocked()) {
      on_new_term = on_new_term_;
      term = announced_term_ = newest_term_;
    }
    if (IsNewCheckpointLocked()) {
      on_checkpoint = on_checkpoint_;
      clock = announced_checkpoint_ = checkpoint_clock_;
    }
  }
  if (on_new_term) on_new_term(term);
  if (on_checkpoint) on_checkpoint(clock);
}

void NodeAgent::Renew() {
  const absl::Status status = Heartbeat(/*leaving=*/false);
  if (status.ok()) {
    OnRenewed();
  } else if (MayRetry(status)) {
    OnUnanswered(status);
  } else {
    End(Annotate(status, absl::StrCat("the coordinator at ", link_->address(), " refused a heartbeat")));
  }
}

void NodeAgent::OnRenewed() {
  renewed_ = absl::Now();
  MutexLock lock(&mutex_);
  if (unanswered_ >= kAway) spdlog::info("the coordinator is back, at {}", link_->address());
  unanswered_ = 0;
  next_heartbeat_ =
      renewed_ + (told_interval_ > absl::ZeroDuration() ? told_interval_ : interval_ * Jitter());
}

void NodeAgent::OnUnanswered(const absl::Status& status) {
  const std::string address = link_->address();
  link_->TryNext();
  const absl::Time now = absl::Now();
  if (now >= renewed_ + options_.patience) {
    return End(absl::UnavailableError(
        absl::StrCat("lost the coordinator at ", options_.coordinator, ": no answer for ",
                     absl::FormatDuration(options_.patience), " (", status.message(), ")")));
  }
  bool is_away = false;
  {
    MutexLock lock(&mutex_);
    is_away = ++unanswered_ >= kAway;
    if (unanswered_ == kAway)
      spdlog::warn("the coordinator at {} is away: {}", address, std::string(status.message()));
  }
  EndDrain(/*may_leave=*/is_away);  // nobody could take what is here
  MutexLock lock(&mutex_);
  const absl::Duration most = std::clamp(lease_ / 3, std::min(interval_, kLongestDelay), kLongestDelay);
  const absl::Duration delay = std::min(interval_ * (1 << std::min(unanswered_ - 1, 10)), most);
  next_heartbeat_ = std::min(now + delay * Jitter(), renewed_ + options_.patience);
}

wire::HeartbeatRequest NodeAgent::NewHeartbeat() {
  wire::HeartbeatRequest request;
  request.set_node_id(registration_.node_id());
  request.set_incarnation(incarnation_);
  std::function<void(wire::HeartbeatRequest*)> source;
  {
    MutexLock lock(&mutex_);
    poked_ = false;
    last_heartbeat_ = absl::Now();
    request.set_term(adopted_term_);
    request.set_rewind(adopted_rewind_);
    request.set_draining(!drain_reason_.ok());
    source = progress_source_;
  }
  if (source) source(&request);
  return request;
}

absl::Status NodeAgent::Heartbeat(bool leaving) {
  wire::HeartbeatRequest request = NewHeartbeat();
  request.set_leaving(leaving);
  grpc::ClientContext context;
  SetDeadline(&context, CallTimeout());
  wire::HeartbeatReply reply;
  const absl::Status status = FromGrpcStatus(link_->stub()->Heartbeat(&context, request, &reply));
  if (leaving) return status;
  if (status.ok()) OnReply(reply);
  if (absl::IsNotFound(status)) {
    End(EvictedStatus(absl::StrCat("the coordinator at ", link_->address(), " has given up on ", name_, ": ",
                                   status.message())));
  }
  return status;
}

void NodeAgent::OnReply(const wire::HeartbeatReply& reply) {
  {
    MutexLock lock(&mutex_);
    phase_ = reply.phase();
    waiting_for_ = reply.message();
    newest_term_ = std::max(newest_term_, reply.term());
    checkpoint_clock_ = reply.checkpoint_clock();
    if (checkpoint_clock_ == 0) announced_checkpoint_ = 0;
    told_interval_ = reply.next_heartbeat_ms() > 0
                         ? std::max(absl::Milliseconds(reply.next_heartbeat_ms()), kShortestInterval)
                         : absl::ZeroDuration();
    changed_.NotifyAll();
  }
  if (reply.phase() == wire::FAILED) End(absl::AbortedError(reply.message()));
  if (reply.phase() == wire::DONE || reply.phase() == wire::STOPPED) End(absl::OkStatus());
  EndDrain(reply.may_leave());
}

void NodeAgent::EndDrain(bool may_leave) {
  absl::Status reason;
  {
    MutexLock lock(&mutex_);
    if (drain_reason_.ok() || (!may_leave && absl::Now() < drain_until_)) return;
    if (!may_leave && !ended_) spdlog::warn("{} leaves before others have what it holds", name_);
    reason = drain_reason_;
  }
  End(std::move(reason));
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

void NodeAgent::Drain(absl::Duration at_most, absl::Status reason) {
  TESSERA_CHECK(!reason.ok());
  MutexLock lock(&mutex_);
  if (!drain_reason_.ok()) return;
  drain_reason_ = std::move(reason);
  drain_until_ = absl::Now() + at_most;
  poked_ = true;
  changed_.NotifyAll();
}

absl::Status NodeAgent::EndLocked() const {
  return end_status_.ok() ? absl::CancelledError("the job is over") : end_status_;
}

absl::StatusOr<wire::ClusterMap> NodeAgent::WaitForMap(int64_t after_term) {
  TESSERA_RETURN_IF_ERROR(AwaitTerm(after_term));
  absl::Duration delay = kFirstDelay;
  while (true) {
    absl::StatusOr<wire::ClusterMap> map = FetchMap();
    if (map.ok() && map->term() > after_term) return map;
    if (!map.ok() && absl::IsNotFound(map.status())) Poke();  // the heartbeat tells
    if (!map.ok() && !MayRetry(map.status()) && !absl::IsNotFound(map.status())) return map.status();
    if (!Pause(delay)) break;
    delay = std::min(2 * delay, kLongestMapDelay);
  }
  MutexLock lock(&mutex_);
  return EndLocked();
}

absl::Status NodeAgent::AwaitTerm(int64_t after_term) {
  MutexLock lock(&mutex_);
  absl::Time next_line = absl::Now() + kWaitSlice;
  while (!ended_ && newest_term_ <= after_term) {
    changed_.WaitWithTimeout(&mutex_, kWaitSlice);
    if (ended_ || phase_ != wire::WAITING || waiting_for_.empty() || absl::Now() < next_line) continue;
    spdlog::info("{}", waiting_for_);
    next_line = absl::Now() + 6 * kWaitSlice;
  }
  return ended_ ? EndLocked() : absl::OkStatus();
}

absl::StatusOr<wire::ClusterMap> NodeAgent::FetchMap() {
  grpc::ClientContext context;
  SetDeadline(&context, kCallTimeout);
  wire::GetClusterMapRequest request;
  request.set_node_id(registration_.node_id());
  request.set_incarnation(incarnation_);
  wire::ClusterMap map;
  TESSERA_RETURN_IF_ERROR(FromGrpcStatus(link_->stub()->GetClusterMap(&context, request, &map)));
  return map;
}

void NodeAgent::Adopted(const wire::ClusterMap& map) {
  MutexLock lock(&mutex_);
  adopted_term_ = map.term();
  adopted_rewind_ = map.rewind();
  poked_ = true;
  changed_.NotifyAll();
}

bool NodeAgent::parked() {
  MutexLock lock(&mutex_);
  return phase_ == wire::RUNNING && !waiting_for_.empty();
}

void NodeAgent::Poke() {
  MutexLock lock(&mutex_);
  poked_ = true;
  changed_.NotifyAll();
}

absl::Status NodeAgent::WaitForEnd() {
  MutexLock lock(&mutex_);
  while (!ended_) changed_.WaitWithTimeout(&mutex_, kLongestWait);  // the heartbeat thread bounds the wait
  return end_status_;
}

void NodeAgent::ReportProgress() {
  {
    MutexLock lock(&mutex_);
    if (ended_ || unanswered_ > 0) return;
  }
  Heartbeat(/*leaving=*/false).IgnoreError();
}

absl::Status NodeAgent::QueueEvaluation(wire::ReportEvaluationRequest request) {
  MutexLock lock(&mutex_);
  TESSERA_RETURN_IF_ERROR(refused_evaluation_);
  if (ended_) return EndLocked();
  QueueLocked(std::move(request));
  return absl::OkStatus();
}

void NodeAgent::ReportCheckpoint(wire::ReportCheckpointRequest request) {
  MutexLock lock(&mutex_);
  if (!ended_) QueueLocked(std::move(request));
}

void NodeAgent::QueueLocked(ReportQueue::Request request) {
  if (!reports_.Add(std::move(request)))
    spdlog::warn("{} reports wait for the coordinator: the oldest is lost", ReportQueue::kMost);
  changed_.NotifyAll();
}

absl::Status NodeAgent::FlushReports() {
  MutexLock lock(&mutex_);
  while (!ended_ && !reports_.empty()) changed_.WaitWithTimeout(&mutex_, kLongestWait);
  TESSERA_RETURN_IF_ERROR(refused_evaluation_);
  return ended_ && !reports_.empty() ? EndLocked() : absl::OkStatus();
}

void NodeAgent::DeliverReport() {
  ReportQueue::Report report;
  {
    MutexLock lock(&mutex_);
    if (reports_.empty()) return;
    report = reports_.front();
  }
  const absl::Status status = Send(report);
  // Not found: this node is declared dead, which the next heartbeat tells.
  const bool settled = !MayRetry(status) && !absl::IsNotFound(status);
  if (settled && !status.ok()) OnRefused(report, status);
  MutexLock lock(&mutex_);
  if (settled) {
    reports_.Remove(report.number);
    report_delay_ = kFirstDelay;
    next_report_ = absl::InfinitePast();
  } else {
    next_report_ = absl::Now() + report_delay_ * Jitter();
    report_delay_ = std::min(2 * report_delay_, kLongestDelay);
  }
  changed_.NotifyAll();
}

absl::Status NodeAgent::Send(const ReportQueue::Report& report) {
  grpc::ClientContext context;
  SetDeadline(&context, CallTimeout());
  const std::shared_ptr<CoordinatorLink::Stub> stub = link_->stub();
  if (auto* evaluation = std::get_if<wire::ReportEvaluationRequest>(&report.request)) {
    wire::ReportEvaluationRequest request = *evaluation;
    request.set_node_id(registration_.node_id());
    request.set_incarnation(incarnation_);
    wire::ReportEvaluationReply reply;
    return FromGrpcStatus(stub->ReportEvaluation(&context, request, &reply));
  }
  wire::ReportCheckpointRequest request = std::get<wire::ReportCheckpointRequest>(report.request);
  request.set_node_id(registration_.node_id());
  request.set_incarnation(incarnation_);
  wire::ReportCheckpointReply reply;
  return FromGrpcStatus(stub->ReportCheckpoint(&context, request, &reply));
}

void NodeAgent::OnRefused(const ReportQueue::Report& report, const absl::Status& status) {
  const std::string why(status.message());
  if (auto* checkpoint = std::get_if<wire::ReportCheckpointRequest>(&report.request)) {
    return spdlog::warn("the coordinator refused the checkpoint at step {}: {}", checkpoint->clock(), why);
  }
  const int64_t clock = std::get<wire::ReportEvaluationRequest>(report.request).clock();
  if (absl::IsFailedPrecondition(status)) {
    return spdlog::info("the evaluation at step {} is of another rewind, and dropped: {}", clock, why);
  }
  MutexLock lock(&mutex_);
  refused_evaluation_ = Annotate(status, absl::StrCat("the evaluation at step ", clock, " was refused"));
}

absl::Status NodeAgent::Conclude(absl::Status own) {
  if (own.ok()) return own;
  ReportProgress();  // whose answer may be the end
  {
    MutexLock lock(&mutex_);
    if (ended_) return end_status_;
  }
  ReportFailure(own);
  return own;
}

void NodeAgent::ReportFailure(const absl::Status& failure) {
  wire::ReportFailureRequest request;
  request.set_node_id(registration_.node_id());
  request.set_incarnation(incarnation_);
  request.set_message(PrintableLine(failure.message()));
  const absl::Time deadline = absl::Now() + lease_ + kCallTimeout;
  absl::Duration delay = kFirstDelay;
  absl::Status status;
  do {
    grpc::ClientContext context;
    SetDeadline(&context, kCallTimeout);
    wire::ReportFailureReply reply;
    status = FromGrpcStatus(link_->stub()->ReportFailure(&context, request, &reply));
    if (!MayRetry(status)) break;
    delay = std::min(2 * delay, kLongestDelay);
  } while (absl::Now() < deadline && Pause(delay));
  if (!status.ok())
    spdlog::warn("the coordinator did not take the report of a failure: {}", std::string(status.message()));
}

void NodeAgent::Leave() {
  {
    MutexLock lock(&mutex_);
    if (absl::IsUnavailable(end_status_) || Evicted(end_status_)) return;  // no call is worth its timeout
  }
  const absl::Status status = Heartbeat(/*leaving=*/true);
  if (!status.ok()) spdlog::info("left without a word to the coordinator: {}", std::string(status.message()));
}

}  // namespace tessera

#include "worker/outstanding_requests.h"

#include <algorithm>
#include <utility>

namespace tessera {

OutstandingRequests::OutstandingRequests(const ShardLayout& layout, std::vector<ReplicaRange> groups,
                                         Waits waits)
    : layout_(layout),
      groups_(std::move(groups)),
      waits_(waits),
      random_(std::random_device{}()),
      jitter_(DrawJitter()),
      requests_(layout_.shards().size() * groups_.size()) {}

absl::Duration OutstandingRequests::FirstWait(bool read) const {
  if (read || answer_time_ == absl::ZeroDuration()) return waits_.first;
  return std::clamp(4 * answer_time_, std::min(waits_.shortest, waits_.first), waits_.first);
}

OutstandingRequests::Request& OutstandingRequests::Begin(int group, ShardId shard, Clock answer, bool read,
                                                         absl::Time now) {
  Request& request = At(group, shard);
  if (request.answer != answer || request.read != read) {
    request.pushes.clear();
    request.again = false;
  }
  request.answer = answer;
  request.read = read;
  request.wait = FirstWait(read);
  request.due = now + request.wait * jitter_;
  request.sent = now;
  request.asked = false;
  return request;
}

void OutstandingRequests::AddRead(int group, ShardId shard, Clock clock, bool settled, absl::Time now) {
  Begin(group, shard, clock, /*read=*/true, now).settled = settled;
}

void OutstandingRequests::AddPush(int group, ShardId shard, Clock clock, OutstandingPush push,
                                  absl::Time now) {
  Begin(group, shard, clock + 1, /*read=*/false, now).pushes.push_back({std::move(push)});
}

void OutstandingRequests::OnWeights(int group, ShardId shard, Clock clock, absl::Time now) {
  Request& request = At(group, shard);
  if (request.answer == kNone || clock < request.answer) return;
  if (!request.read && !request.asked && clock == request.answer) {
    const absl::Duration took = now - request.sent;
    answer_time_ = answer_time_ == absl::ZeroDuration() ? took : answer_time_ + (took - answer_time_) / 8;
  }
  Forget(&request);
}

void OutstandingRequests::OnDropped(int group, ShardId shard, Clock clock) {
  Request& request = At(group, shard);
  if (!request.read && request.answer != kNone && clock + 1 >= request.answer) Forget(&request);
}

void OutstandingRequests::Forget(Request* request) {
  request->answer = kNone;
  request->pushes.clear();
}

void OutstandingRequests::OnUnknown(int group, ShardId shard, ReplicaRange replicas, Clock clock) {
  Request& request = At(group, shard);
  if (request.read || request.answer != clock + 1) return;
  for (Push& push : request.pushes) {
    if (push.push.replicas == replicas) push.again = true;
  }
}

void OutstandingRequests::OnUnavailable(int group, ShardId shard, absl::Time now) {
  Request& request = At(group, shard);
  request.wait = waits_.first;
  request.due = now + request.wait * DrawJitter();
}

void OutstandingRequests::SendAgain(ShardId shard) {
  for (size_t group = 0; group < groups_.size(); ++group) At(static_cast<int>(group), shard).again = true;
}

void OutstandingRequests::TakeDue(ShardId shard, absl::Time now, std::vector<ExchangeMessage>* messages,
                                  int64_t* again) {
  for (int group = 0; group < static_cast<int>(groups_.size()); ++group) {
    Request& request = At(group, shard);
    const bool in_full = std::exchange(request.again, false);
    if (request.answer == kNone) continue;
    const bool overdue = now >= request.due;
    if (in_full) request.wait = waits_.first;
    if (!in_full && overdue) request.wait = std::min(2 * request.wait, waits_.longest);
    if (in_full || overdue) {
      request.due = now + request.wait * DrawJitter();
      request.asked = true;
    }
    if (request.read && (in_full || overdue)) {
      messages->push_back(ReadMessage(group, shard, request));
      ++*again;
    }
    for (Push& push : request.pushes) {
      const bool push_again = std::exchange(push.again, false) || in_full;
      if (!push_again && !overdue) continue;
      messages->push_back(PushMessage(shard, request, push, /*probe=*/!push_again));
      if (push_again) ++*again;
    }
  }
}

absl::Time OutstandingRequests::NextDue(ShardId shard) const {
  absl::Time next = absl::InfiniteFuture();
  for (size_t group = 0; group < groups_.size(); ++group) {
    const Request& request = requests_[static_cast<size_t>(shard) * groups_.size() + group];
    if (request.answer != kNone) next = std::min(next, request.due);
  }
  return next;
}

ExchangeMessage OutstandingRequests::ReadMessage(int group, ShardId shard, const Request& request) const {
  ExchangeMessage read;
  read.kind = MessageKind::kRead;
  read.shard = shard;
  read.replicas = groups_[static_cast<size_t>(group)];
  read.clock = request.answer;
  read.settled = request.settled;
  return read;
}

ExchangeMessage OutstandingRequests::PushMessage(ShardId shard, const Request& request, const Push& push,
                                                 bool probe) const {
  ExchangeMessage message;
  message.kind = MessageKind::kPush;
  message.shard = shard;
  message.replicas = push.push.replicas;
  message.clock = request.answer - 1;
  message.version = push.push.version;
  message.wants_weights = push.push.wants_weights;
  message.settled = push.push.settled;
  message.probe = probe;
  if (probe) return message;
  const Shard& described = layout_.shards()[static_cast<size_t>(shard)];
  message.tensor = TensorBytes(push.push.gradient, static_cast<size_t>(described.offset),
                               static_cast<size_t>(described.length));
  return message;
}

}  // namespace tessera

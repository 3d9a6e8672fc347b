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
      first_wait_(Jittered(waits.first)),
      requests_(layout_.shards().size() * groups_.size()) {}

// +-20 %, so that many workers do not ask in step.
absl::Duration OutstandingRequests::Jittered(absl::Duration wait) {
  return wait * std::uniform_real_distribution<double>(0.8, 1.2)(random_);
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
  request.wait = waits_.first;
  request.due = now + first_wait_;
  return request;
}

void OutstandingRequests::AddRead(int group, ShardId shard, Clock clock, bool settled, absl::Time now) {
  Begin(group, shard, clock, /*read=*/true, now).settled = settled;
}

void OutstandingRequests::AddPush(int group, ShardId shard, Clock clock, OutstandingPush push,
                                  absl::Time now) {
  Begin(group, shard, clock + 1, /*read=*/false, now).pushes.push_back({std::move(push)});
}

void OutstandingRequests::OnWeights(int group, ShardId shard, Clock clock) {
  Request& request = At(group, shard);
  if (request.answer == kNone || clock < request.answer) return;
  request.answer = kNone;
  request.pushes.clear();
}

void OutstandingRequests::OnDropped(int group, ShardId shard, Clock clock) {
  const Request& request = At(group, shard);
  if (!request.read) OnWeights(group, shard, clock + 1);
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
  request.due = now + Jittered(request.wait);
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
    if (in_full || overdue) request.due = now + Jittered(request.wait);
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

#include "server/release_gate.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/check.h"

namespace tessera {

ReleaseGate::ReleaseGate(ConsistencyPolicy policy, ShardVersion at)
    : policy_(std::move(policy)), newest_(std::move(at)) {}

void ReleaseGate::SetBackups(absl::Span<const NodeId> backups, absl::Span<const NodeId> joining) {
  std::map<NodeId, Version> has;
  for (const NodeId node : joining) {
    const auto known = has_.find(node);
    if (known != has_.end()) has.insert(*known);
  }
  for (const NodeId node : backups) {
    const auto known = has_.find(node);
    has.emplace(node, known == has_.end() ? kUnknown : known->second);
  }
  has_ = std::move(has);
  joining_ = {joining.begin(), joining.end()};
  open_ = open_ && Everywhere() >= newest_.version;
}

void ReleaseGate::OnHas(NodeId node, Version version) {
  const auto backup = has_.find(node);
  if (backup != has_.end()) backup->second = std::max(backup->second, version);
}

bool ReleaseGate::Join(NodeId node, Version version) {
  if (joining_.count(node) == 0) return false;
  const auto backup = has_.emplace(node, version).first;
  backup->second = std::max(backup->second, version);
  return backup->second >= newest_.version;
}

void ReleaseGate::Add(Applied applied) {
  TESSERA_CHECK(applied.made.version == newest_.version + std::ssize(waiting_) + 1);
  waiting_.push_back(std::move(applied));
}

bool ReleaseGate::Release(std::vector<ShardSnapshot>* snapshots) {
  const Version everywhere = Everywhere();
  if (everywhere < newest_.version) return false;
  bool released = !std::exchange(open_, true);
  while (!waiting_.empty() && waiting_.front().made.version <= everywhere) {
    Applied& next = waiting_.front();
    TESSERA_CHECK(policy_.OnRound(next.group, next.clock, next.covered).ok());
    newest_ = std::move(next.made);
    if (next.snapshot.has_value()) snapshots->push_back(*std::move(next.snapshot));
    waiting_.pop_front();
    released = true;
  }
  return released;
}

Version ReleaseGate::Everywhere() const {
  Version least = std::numeric_limits<Version>::max();
  for (const auto& [node, version] : has_) least = std::min(least, version);
  return least;
}

}  // namespace tessera

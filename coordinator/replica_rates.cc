#include "coordinator/replica_rates.h"

#include <algorithm>

namespace tessera {

void ReplicaRates::Record(ReplicaId replica, int64_t minibatches, absl::Time now) {
  std::deque<Change>& changes = replicas_[replica].changes;
  replicas_[replica].seen = std::max(replicas_[replica].seen, now);
  if (minibatches < 1) return;
  if (!changes.empty() && (minibatches <= changes.back().minibatches || now <= changes.back().when)) return;
  changes.push_back({now, minibatches});
  while (changes.size() > 2 && changes[1].when <= now - kWindow) changes.pop_front();
}

double ReplicaRates::PerSecond(ReplicaId replica) const {
  const auto& [changes, seen] = replicas_[replica];
  if (changes.size() < 2) return 0;
  const Change& first = changes.front();
  const Change& last = changes.back();
  const auto minibatches = static_cast<double>(last.minibatches - first.minibatches);
  const double rate = minibatches / absl::ToDoubleSeconds(last.when - first.when);
  if (seen <= last.when) return rate;
  return std::min(rate, (minibatches + 1) / absl::ToDoubleSeconds(seen - first.when));
}

}  // namespace tessera

// Random events against a model that keeps every (replica, clock) that counted and nothing clever: retries,
// reordered pushes, ranges that contain others, clocks long gone or not yet there, in every mode. A failure
// names its seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "server/consistency_policy.h"

namespace tessera {
namespace {

using Action = ConsistencyPolicy::Action;
using Code = absl::StatusCode;

constexpr int kSequences = 200;
constexpr int kEvents = 3000;

// The nodes of a group's tree, by their definition: (j,k) covers [k*2^j, min((k+1)*2^j, group)).
std::vector<ReplicaRange> NodesOf(int32_t group) {
  std::vector<ReplicaRange> nodes;
  for (int32_t width = 1;; width *= 2) {
    for (ReplicaId first = 0; first < group; first += width) {
      nodes.push_back({first, std::min(first + width, group) - 1});
    }
    if (width >= group) return nodes;
  }
}

// What consistency_policy.h promises, computed from all that ever counted.
class Model {
 public:
  explicit Model(const ConsistencyOptions& options)
      : options_(options),
        nodes_(NodesOf(options.group)),
        clocks_(options.replicas / options.group, 0),
        open_(clocks_.size()),
        last_counted_(options.replicas, -1),
        counted_(options.replicas, 0) {}

  absl::StatusOr<Action> Push(ReplicaRange range, Clock clock) {
    if (!IsNode(range) || clock < 0) return absl::InvalidArgumentError("");
    const int32_t group = range.first / options_.group;
    if (!MayRead(range.first, clock)) return absl::FailedPreconditionError("");
    if (clock < clocks_[group]) return AfterTheRound(range, clock);
    std::set<ReplicaId>& open = open_[group];
    const size_t before = open.size();
    for (ReplicaId replica = range.first; replica <= range.last; ++replica) open.insert(replica);
    if (open.size() == before) return Action::kDuplicate;
    if (!Closes(open)) return Action::kHold;
    CloseRound(group);
    return Action::kApplyRound;
  }

  bool MayRead(ReplicaId replica, Clock clock) const {
    if (clock > clocks_[replica / options_.group]) return false;
    return options_.staleness == ConsistencyOptions::kUnbounded || clock <= Slowest() + options_.staleness;
  }

  Clock Slowest() const { return *std::min_element(clocks_.begin(), clocks_.end()); }
  Clock clock(int32_t group) const { return clocks_[group]; }
  int32_t covered(int32_t group) const { return static_cast<int32_t>(open_[group].size()); }
  const std::vector<ReplicaRange>& nodes() const { return nodes_; }
  const std::vector<int64_t>& counted() const { return counted_; }
  int64_t dropped() const { return dropped_; }
  Clock next_clock(ReplicaId replica) const { return last_counted_[replica] + 1; }
  const std::set<ReplicaId>& last_round() const { return last_round_; }
  // Whether some (replica, clock) ever counted twice.
  bool twice() const { return twice_; }

 private:
  bool IsNode(ReplicaRange range) const {
    if (range.first < 0 || range.last < range.first || range.last >= options_.replicas) return false;
    const ReplicaId base = range.first / options_.group * options_.group;
    return std::count(nodes_.begin(), nodes_.end(), ReplicaRange{range.first - base, range.last - base}) > 0;
  }

  absl::StatusOr<Action> AfterTheRound(ReplicaRange range, Clock clock) const {
    for (ReplicaId replica = range.first; replica <= range.last; ++replica) {
      if (last_counted_[replica] < clock) return Action::kDropped;
    }
    return Action::kAlreadyApplied;
  }

  bool Closes(const std::set<ReplicaId>& open) const {
    if (static_cast<int32_t>(open.size()) + options_.drop_stragglers < options_.group) return false;
    if (options_.drop_stragglers == 0) return true;
    for (const ReplicaRange& unit : options_.units) {
      int32_t here = 0;
      for (ReplicaId replica = unit.first; replica <= unit.last; ++replica) here += open.count(replica) > 0;
      if (here != 0 && here != unit.size()) return false;
    }
    return true;
  }

  void CloseRound(int32_t group) {
    for (const ReplicaId replica : open_[group]) {
      twice_ |= !all_.insert({replica, clocks_[group]}).second;
      last_counted_[replica] = clocks_[group];
      ++counted_[replica];
    }
    dropped_ += options_.group - static_cast<int64_t>(open_[group].size());
    last_round_ = std::exchange(open_[group], {});
    ++clocks_[group];
  }

  const ConsistencyOptions options_;
  const std::vector<ReplicaRange> nodes_;
  std::vector<Clock> clocks_;              // by group
  std::vector<std::set<ReplicaId>> open_;  // by group: who is in its open round
  std::set<std::pair<ReplicaId, Clock>> all_;
  std::vector<Clock> last_counted_;  // by replica
  std::vector<int64_t> counted_;     // by replica
  std::set<ReplicaId> last_round_;
  int64_t dropped_ = 0;
  bool twice_ = false;
};

class Play {
 public:
  explicit Play(uint32_t seed)
      : random_(seed),
        options_(AnyOptions()),
        model_(options_),
        policy_(ConsistencyPolicy::Create(options_).value()) {}

  // One event, checked. Returns whether all is well.
  bool Event() {
    const bool right = Below(3) == 0 ? Read() : Push();
    return right && !model_.twice() && Agrees();
  }

 private:
  int32_t Below(int32_t bound) { return static_cast<int32_t>(random_() % static_cast<uint32_t>(bound)); }

  // Every mode, up to 4 groups of up to 13.
  ConsistencyOptions AnyOptions() {
    ConsistencyOptions options;
    options.group = 1 + Below(Below(2) == 0 ? 4 : 13);
    options.replicas = options.group * (1 + Below(4));
    options.staleness = Below(3) == 0 ? ConsistencyOptions::kUnbounded : Below(4);
    if (Below(2) == 0) return options;
    options.replicas = options.group;
    options.drop_stragglers = Below(options.group);
    for (ReplicaId first = 0; first < options.replicas;) {
      const ReplicaId last = std::min(options.replicas, first + 1 + Below(4)) - 1;
      if (Below(4) != 0) options.units.push_back({first, last});
      first = last + 1;
    }
    return options;
  }

  ReplicaRange AnyRange() {
    if (Below(20) == 0) return {Below(options_.replicas + 2) - 1, Below(options_.replicas + 2) - 1};
    ReplicaRange range =
        model_.nodes()[static_cast<size_t>(Below(static_cast<int32_t>(model_.nodes().size())))];
    const ReplicaId base = options_.group * Below(options_.replicas / options_.group);
    return {base + range.first, base + range.last};
  }

  // Mostly that of the open round, else one of before or to come.
  Clock AnyClock(int32_t group) {
    const Clock open = model_.clock(group);
    switch (Below(8)) {
      case 0:
        return open - Below(4);
      case 1:
        return open + Below(3);
      case 2:
        return Below(static_cast<int32_t>(open) + 1);
      default:
        return open;
    }
  }

  int32_t GroupOf(ReplicaRange range) const {
    return std::clamp(range.first, 0, options_.replicas - 1) / options_.group;
  }

  bool Push() {
    const ReplicaRange range = AnyRange();
    const Clock clock = AnyClock(GroupOf(range));
    const Clock lead = model_.clock(GroupOf(range)) - model_.Slowest();
    const absl::StatusOr<Action> expected = model_.Push(range, clock);
    const absl::StatusOr<Action> action = policy_.OnPush(range, clock);
    if (action.status().code() != expected.status().code()) return false;
    if (!action.ok() || *action != Action::kApplyRound) return !action.ok() || *action == *expected;
    return *expected == Action::kApplyRound && RoundIsWithinItsBounds(GroupOf(range), clock, lead);
  }

  bool RoundIsWithinItsBounds(int32_t group, Clock clock, Clock lead) {
    const bool bounded = options_.staleness != ConsistencyOptions::kUnbounded;
    if (policy_.LastRoundLead(group) != lead || (bounded && lead > options_.staleness)) return false;
    if (policy_.LastRoundSize(group) != static_cast<int32_t>(model_.last_round().size())) return false;
    for (const ReplicaId replica : model_.last_round()) {
      const auto read = read_at_.find({replica, clock});
      if (read == read_at_.end()) continue;
      const int64_t staleness = version_ - read->second;
      if (bounded && staleness > options_.StalenessBoundVersions()) return false;
      read_at_.erase(read);
    }
    ++version_;
    return true;
  }

  bool Read() {
    const ReplicaId replica = Below(options_.replicas);
    const Clock clock = std::max<Clock>(0, AnyClock(replica / options_.group));
    const absl::StatusOr<bool> may = policy_.MayRead(replica, clock);
    if (!may.ok() || *may != model_.MayRead(replica, clock)) return false;
    if (!*may) return true;
    readable_.emplace_back(replica, clock);
    // As one does that computes: reads the newest version, once.
    if (clock == model_.clock(replica / options_.group)) read_at_.insert({{replica, clock}, version_});
    return true;
  }

  // What can be asked at any time, and what was true before.
  bool Agrees() {
    const int32_t group = Below(options_.replicas / options_.group);
    const ReplicaId replica = Below(options_.replicas);
    const bool same = policy_.GroupClock(group) == model_.clock(group) &&
                      policy_.Covered(group) == model_.covered(group) &&
                      policy_.ReplicaClock(replica) == model_.next_clock(replica) &&
                      policy_.dropped() == model_.dropped() && policy_.applied() == model_.counted() &&
                      policy_.Settled(model_.Slowest()) && !policy_.Settled(model_.Slowest() + 1);
    if (!same || readable_.empty()) return same;
    const auto& [reader, clock] = readable_[random_() % readable_.size()];
    return policy_.MayRead(reader, clock).value();
  }

  std::mt19937 random_;
  const ConsistencyOptions options_;
  Model model_;
  ConsistencyPolicy policy_;
  Version version_ = 0;
  std::vector<std::pair<ReplicaId, Clock>> readable_;       // once: for good
  std::map<std::pair<ReplicaId, Clock>, Version> read_at_;  // the version that a minibatch is computed on
};

TEST(ConsistencyPolicyModel, DoesWhatTheModelDoesInAnyOrderOfEvents) {
  for (uint32_t seed = 0; seed < kSequences; ++seed) {
    Play play(seed);
    for (int event = 0; event < kEvents; ++event) {
      ASSERT_TRUE(play.Event()) << "seed " << seed << ", event " << event;
    }
  }
}

}  // namespace
}  // namespace tessera

#include "cli/chaos_generator.h"

#include <algorithm>
#include <optional>
#include <random>
#include <set>

namespace tessera::cli {
namespace {

constexpr int kFewestFaults = 2;
constexpr int kMostFaults = 5;
constexpr int64_t kShortestPauseMs = 200;
constexpr int64_t kLongestPauseMs = 3000;
constexpr int kMostDropPercent = 3;
constexpr int kMostCutPercent = 2;

class Generator {
 public:
  Generator(uint64_t seed, const ChaosJob& job) : random_(seed), job_(job) {}

  ChaosPlan Make() {
    const int64_t count = Between(kFewestFaults, kMostFaults);
    for (int64_t made = 0; made < count;) made += AddFault(count - made);
    std::stable_sort(plan_.faults.begin(), plan_.faults.end(),
                     [](const ChaosFault& a, const ChaosFault& b) { return a.step < b.step; });
    return plan_;
  }

 private:
  // Not std::uniform_int_distribution, which each library does in its own way.
  int64_t Between(int64_t first, int64_t last) {
    return first + static_cast<int64_t>(random_() % static_cast<uint64_t>(last - first + 1));
  }

  int64_t LastStep() const { return std::max<int64_t>(job_.steps * 3 / 4, 1); }

  Place AnyPlace() {
    int64_t pick = Between(0, job_.cluster.servers + job_.cluster.workers);
    if (pick == 0) return {};
    if (pick <= job_.cluster.servers) return {PlaceKind::kServer, static_cast<int>(pick - 1)};
    return {PlaceKind::kWorker, static_cast<int>(pick - 1 - job_.cluster.servers)};
  }

  bool OthersOfItsKind(const Place& place) const {
    if (place.kind == PlaceKind::kCoordinator) return false;
    return (place.kind == PlaceKind::kServer ? job_.cluster.servers : job_.cluster.workers) > 1;
  }

  // Returns how many faults were added: 0, 1 or 2, and at most `room`.
  int64_t AddFault(int64_t room) {
    switch (Between(0, 9)) {
      case 0:
        return AddPercent(kMostDropPercent, &plan_.drop_percent);
      case 1:
        return AddPercent(kMostCutPercent, &plan_.cut_percent);
      case 2:
      case 3:
      case 4:
        return Add({.kind = ChaosFault::Kind::kKill, .place = AnyPlace(), .step = Between(1, LastStep())});
      case 5:
      case 6:
        return Add({.kind = ChaosFault::Kind::kStop,
                    .place = AnyPlace(),
                    .step = Between(1, LastStep()),
                    .pause = absl::Milliseconds(Between(kShortestPauseMs, kLongestPauseMs))});
      case 7:
        return Add({.kind = ChaosFault::Kind::kRestart, .place = AnyPlace(), .step = Between(1, LastStep())});
      default:
        return AddLongDeath(room);
    }
  }

  int64_t AddPercent(int most, double* percent) {
    if (*percent > 0) return 0;
    *percent = static_cast<double>(Between(1, most));
    return 1;
  }

  int64_t Add(const ChaosFault& fault) {
    if (!MayStrike(fault.place)) return 0;
    // Beside a kill, a restart would make the node stay dead until then, or end its long death too soon.
    if (dead_ && fault.place == dead_place_) return 0;
    if (fault.kind == ChaosFault::Kind::kKill && IsNamed(fault.place, ChaosFault::Kind::kRestart)) return 0;
    if (fault.kind == ChaosFault::Kind::kRestart && IsNamed(fault.place, ChaosFault::Kind::kKill)) return 0;
    plan_.faults.push_back(fault);
    return 1;
  }

  // A node is killed, and started again some steps later.
  int64_t AddLongDeath(int64_t room) {
    const Place place = AnyPlace();
    if (dead_ || room < 2 || !OthersOfItsKind(place) || LastStep() < 2 || IsNamed(place) || !MayStrike(place))
      return 0;
    dead_ = true;
    dead_place_ = place;
    const int64_t killed = Between(1, LastStep() - 1);
    plan_.faults.push_back({.kind = ChaosFault::Kind::kKill, .place = place, .step = killed});
    plan_.faults.push_back(
        {.kind = ChaosFault::Kind::kRestart, .place = place, .step = Between(killed + 1, LastStep())});
    return 2;
  }

  // Every shard keeps one who has it.
  bool MayStrike(const Place& place) const {
    if (job_.server_backups == 0 || place.kind != PlaceKind::kServer) return true;
    std::set<int> struck = {place.index};
    for (const ChaosFault& fault : plan_.faults) {
      if (fault.place.kind == PlaceKind::kServer) struck.insert(fault.place.index);
    }
    return struck.size() <= static_cast<size_t>(job_.server_backups);
  }

  bool IsNamed(const Place& place, std::optional<ChaosFault::Kind> kind = std::nullopt) const {
    return std::any_of(plan_.faults.begin(), plan_.faults.end(), [&](const ChaosFault& fault) {
      return fault.place == place && kind.value_or(fault.kind) == fault.kind;
    });
  }

  std::mt19937_64 random_;
  const ChaosJob job_;
  ChaosPlan plan_;
  bool dead_ = false;  // `dead_place_` is killed and started again later
  Place dead_place_;
};

}  // namespace

ChaosPlan RandomChaosPlan(uint64_t seed, const ChaosJob& job) { return Generator(seed, job).Make(); }

}  // namespace tessera::cli

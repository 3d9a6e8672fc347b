#include "coordinator/map_planner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera {

MapPlanner::MapPlanner(const MapPlannerOptions& options, ShardLayout layout, wire::ClusterMap base)
    : options_(options), layout_(std::move(layout)), base_(std::move(base)), restoring_(options.resume) {}

std::optional<MapPlanner::Change> MapPlanner::Advance(const Membership& members, bool training,
                                                      absl::Time now) {
  if (!has_map()) return Start(members);
  if (go_back_ || !ServersStand(map_, members)) return GoBack(members, now);
  Park("", false);
  if (!training || (WorkersStand(map_, members) && !make_anew_)) return std::nullopt;
  return MakeMap(members, /*rewound=*/false);
}

std::optional<MapPlanner::Change> MapPlanner::Start(const Membership& members) {
  if (!members.complete() || restore_wanted()) return std::nullopt;
  return MakeMap(members, /*rewound=*/false);
}

std::optional<MapPlanner::Change> MapPlanner::GoBack(const Membership& members, absl::Time now) {
  go_back_ = true;
  restoring_ = true;
  const int32_t servers = members.NumAlive(NodeRole::kServer);
  if (servers == 0) {
    wait_from_ = absl::InfiniteFuture();
    Park("waiting for a server", true);
    return std::nullopt;
  }
  wait_from_ = std::min(wait_from_, now);
  if (servers < options_.servers && now - wait_from_ < options_.lease) {
    Park(absl::StrCat("waiting for ", options_.servers - servers, " of ", options_.servers, " servers"),
         false);
    return std::nullopt;
  }
  if (restore_wanted()) {
    Park("waiting for the newest checkpoint to be found", false);
    return std::nullopt;
  }
  return MakeMap(members, /*rewound=*/true);
}

std::optional<MapPlanner::Change> MapPlanner::MakeMap(const Membership& members, bool rewound) {
  if (members.NumAlive(NodeRole::kWorker) == 0) {
    Park("waiting for a worker", true);
    return std::nullopt;
  }
  Change change{.before = map_, .first = !has_map(), .rewound = rewound};
  wire::ClusterMap next = change.first ? base_ : map_;
  next.set_term(terms_.Next());
  SpreadOverWorkers(members, options_.replicas, &next);
  if (rewound || change.first) {
    PlaceOnServers(members, layout_, options_.servers, &next);
    next.clear_restore();
    if (restore_.has_value() && !restore_->folder().empty()) *next.mutable_restore() = *restore_;
    change.clock = next.restore().clock();
    restore_.reset();
    restoring_ = false;
  }
  if (rewound || change.first) next.set_rewind(std::max(map_.rewind() + (rewound ? 1 : 0), least_rewind_));
  map_ = std::move(next);
  make_anew_ = go_back_ = false;
  wait_from_ = absl::InfiniteFuture();
  Park("", false);
  return change;
}

void MapPlanner::Park(const std::string& waiting, bool parked) {
  waiting_ = waiting;
  parked_ = parked;
}

bool MapPlanner::OnForeignTerm(int64_t term, int64_t rewind, bool is_member) {
  const bool is_beyond = term > terms_.newest();
  if (is_beyond) terms_.GoBeyond(term >> 32);
  // Every term that we ever gave is at most that of our map.
  if (!is_member || term <= map_.term()) return is_beyond;
  const bool goes_back = has_map() && rewind > map_.rewind();
  const bool is_news = is_beyond || !make_anew_ || (goes_back && !go_back_) || rewind >= least_rewind_;
  make_anew_ = true;
  go_back_ = go_back_ || goes_back;
  least_rewind_ = std::max(least_rewind_, rewind + 1);
  return is_news;
}

void MapPlanner::ToJournal(wire::JournalState* journal) const {
  journal->set_epoch(terms_.epoch());
  journal->set_n(terms_.n());
  journal->set_rewind(std::max(map_.rewind(), least_rewind_));
  if (!has_map()) return;
  wire::ClusterMap* const map = journal->mutable_map();
  map->set_term(map_.term());
  map->set_rewind(map_.rewind());
  *map->mutable_servers() = map_.servers();
  *map->mutable_workers() = map_.workers();
  if (map_.has_restore()) *map->mutable_restore() = map_.restore();
}

absl::Status MapPlanner::FromJournal(const wire::JournalState& journal) {
  if (journal.epoch() < 0 || journal.epoch() >= TermSequence::kMostEpochs || journal.rewind() < 0 ||
      journal.map().term() < 0 || (journal.map().term() >> 32) > journal.epoch() ||
      journal.map().rewind() < 0) {
    return absl::DataLossError(absl::StrCat("epoch ", journal.epoch(), ", term ", journal.map().term()));
  }
  if (journal.has_map()) {
    TESSERA_RETURN_IF_ERROR(CheckMap(journal.map(), layout_, options_.replicas));
    map_ = base_;
    map_.MergeFrom(journal.map());
  }
  terms_.Set(journal.epoch(), journal.n());
  terms_.GoBeyond(journal.epoch());
  least_rewind_ = journal.rewind();
  restoring_ = !has_map();  // the job may have been resumed from a checkpoint before
  return absl::OkStatus();
}

}  // namespace tessera

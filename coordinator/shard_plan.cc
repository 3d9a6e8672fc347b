#include "coordinator/shard_plan.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "common/check.h"

namespace tessera {
namespace {

bool Has(const std::vector<int32_t>& servers, int32_t server) {
  return std::binary_search(servers.begin(), servers.end(), server);
}

void Insert(std::vector<int32_t>* servers, int32_t server) {
  servers->insert(std::lower_bound(servers->begin(), servers->end(), server), server);
}

void Erase(std::vector<int32_t>* servers, int32_t server) {
  servers->erase(std::remove(servers->begin(), servers->end(), server), servers->end());
}

bool Holds(const ShardPlan::Holders& holders, int32_t server) {
  return holders.primary == server || Has(holders.backups, server) || Has(holders.copies, server);
}

}  // namespace

ShardPlan::ShardPlan(const ShardLayout& layout, int32_t backups)
    : backups_(static_cast<size_t>(backups)),
      largest_first_(layout.shards().size()),
      holders_(layout.shards().size()) {
  TESSERA_CHECK(backups >= 0);
  for (const Shard& shard : layout.shards()) bytes_.push_back(shard.bytes());
  std::iota(largest_first_.begin(), largest_first_.end(), 0);
  std::stable_sort(largest_first_.begin(), largest_first_.end(),
                   [this](ShardId a, ShardId b) { return BytesOf(a) > BytesOf(b); });
}

void ShardPlan::Add(int32_t server) { servers_.try_emplace(server); }

ShardPlan::Losses ShardPlan::Remove(int32_t server) {
  Losses losses;
  for (size_t index = 0; index < holders_.size(); ++index) {
    const auto shard = static_cast<ShardId>(index);
    Holders& holders = holders_[index];
    const bool was_primary = holders.primary == server;
    GiveUp(shard, server);
    if (!was_primary) continue;
    const int32_t heir = HeirOf(holders);
    // Nobody but the heir can complete what was on its way.
    const std::vector<int32_t> fresh = holders.fresh;
    for (const int32_t backup : fresh) {
      GiveUp(shard, backup);
      if (heir != kNobody) AddCopy(shard, backup);
    }
    if (heir != kNobody) {
      Promote(shard, heir);
      losses.taken_over.push_back(shard);
      continue;
    }
    for (const int32_t copy : std::vector<int32_t>(holders.copies)) GiveUp(shard, copy);
    holders.successor = kNobody;
    losses.lost.push_back(shard);
  }
  servers_.erase(server);
  return losses;
}

void ShardPlan::Drain(int32_t server) {
  const auto found = servers_.find(server);
  if (found == servers_.end()) return;
  found->second.drains = true;
  for (size_t index = 0; index < holders_.size(); ++index) {
    Holders& holders = holders_[index];
    if (holders.successor == server) holders.successor = kNobody;
    if (Has(holders.copies, server)) GiveUp(static_cast<ShardId>(index), server);
  }
}

bool ShardPlan::IsEmpty(int32_t server) const { return held_bytes(server) == 0; }

void ShardPlan::Place() {
  for (auto& [id, server] : servers_) server = {.drains = server.drains};
  std::fill(holders_.begin(), holders_.end(), Holders());
  copies_ = 0;
  copy_bytes_ = 0;
  const std::vector<int32_t> used = Staying();
  if (used.empty()) return;
  const auto by_primaries = [this](int32_t a, int32_t b) { return primary_bytes(a) < primary_bytes(b); };
  for (const ShardId shard : largest_first_) {
    SetPrimary(shard, *std::min_element(used.begin(), used.end(), by_primaries));
  }
  const auto by_held = [this](int32_t a, int32_t b) { return held_bytes(a) < held_bytes(b); };
  for (const ShardId shard : largest_first_) {
    for (size_t i = 0; i < std::min(backups_, used.size() - 1); ++i) {
      std::vector<int32_t> others;
      std::copy_if(used.begin(), used.end(), std::back_inserter(others),
                   [&](int32_t server) { return !Holds(holders(shard), server); });
      AddBackup(shard, *std::min_element(others.begin(), others.end(), by_held));
    }
  }
}

bool ShardPlan::OnCopied(ShardId shard, int32_t server) {
  if (shard < 0 || static_cast<size_t>(shard) >= holders_.size()) return false;
  if (!Has(holders(shard).copies, server)) return false;
  GiveUp(shard, server);
  AddBackup(shard, server);
  Insert(&holders_[static_cast<size_t>(shard)].fresh, server);
  return true;
}

bool ShardPlan::OnAdopted(int32_t server) {
  bool news = false;
  for (Holders& holders : holders_) {
    if (holders.primary != server || holders.fresh.empty()) continue;
    holders.fresh.clear();
    news = true;
  }
  return news;
}

bool ShardPlan::Advance() {
  // One kind of step at a time, so that each map is a small change of the one before.
  return PromoteSuccessors() || DropSurplus() || CopyToBackups() || MovePrimary() || MoveBackup();
}

void ShardPlan::Restore(ShardId shard, const Holders& holders) {
  if (holders.primary != kNobody) SetPrimary(shard, holders.primary);
  for (const int32_t backup : holders.backups) AddBackup(shard, backup);
  for (const int32_t copy : holders.copies) AddCopy(shard, copy);
  holders_[static_cast<size_t>(shard)].fresh = holders.fresh;
  holders_[static_cast<size_t>(shard)].successor = holders.successor;
}

std::vector<int32_t> ShardPlan::servers() const {
  std::vector<int32_t> ids;
  for (const auto& [id, server] : servers_) ids.push_back(id);
  return ids;
}

int64_t ShardPlan::primary_bytes(int32_t server) const {
  const auto found = servers_.find(server);
  return found == servers_.end() ? 0 : found->second.primary_bytes;
}

int64_t ShardPlan::held_bytes(int32_t server) const {
  const auto found = servers_.find(server);
  return found == servers_.end() ? 0 : found->second.held_bytes;
}

std::vector<int32_t> ShardPlan::Staying() const {
  std::vector<int32_t> ids;
  for (const auto& [id, server] : servers_) {
    if (!server.drains) ids.push_back(id);
  }
  return ids;
}

size_t ShardPlan::BackupsWanted() const {
  return std::min(backups_, std::max<size_t>(Staying().size(), 1) - 1);
}

int ShardPlan::MovesUnderWay() const {
  return static_cast<int>(std::count_if(holders_.begin(), holders_.end(),
                                        [](const Holders& holders) { return holders.successor != kNobody; }));
}

bool ShardPlan::IsQuiet() const {
  return std::all_of(holders_.begin(), holders_.end(), [](const Holders& holders) {
    return holders.copies.empty() && holders.fresh.empty() && holders.successor == kNobody;
  });
}

int32_t ShardPlan::LeastHolding(ShardId shard) const {
  int32_t least = kNobody;
  for (const auto& [id, server] : servers_) {
    if (server.drains || Holds(holders(shard), id)) continue;
    if (least == kNobody || server.held_bytes < held_bytes(least)) least = id;
  }
  return least;
}

void ShardPlan::SetPrimary(ShardId shard, int32_t server) {
  holders_[static_cast<size_t>(shard)].primary = server;
  servers_[server].primary_bytes += BytesOf(shard);
  servers_[server].held_bytes += BytesOf(shard);
}

void ShardPlan::AddBackup(ShardId shard, int32_t server) {
  Insert(&holders_[static_cast<size_t>(shard)].backups, server);
  servers_[server].held_bytes += BytesOf(shard);
}

void ShardPlan::AddCopy(ShardId shard, int32_t server) {
  Insert(&holders_[static_cast<size_t>(shard)].copies, server);
  servers_[server].held_bytes += BytesOf(shard);
  ++copies_;
  copy_bytes_ += BytesOf(shard);
}

void ShardPlan::GiveUp(ShardId shard, int32_t server) {
  Holders& holders = holders_[static_cast<size_t>(shard)];
  if (!Holds(holders, server)) return;
  const auto found = servers_.find(server);
  if (holders.primary == server) {
    holders.primary = kNobody;
    found->second.primary_bytes -= BytesOf(shard);
  }
  Erase(&holders.backups, server);
  Erase(&holders.fresh, server);
  if (Has(holders.copies, server)) {
    Erase(&holders.copies, server);
    --copies_;
    copy_bytes_ -= BytesOf(shard);
  }
  if (holders.replaced == server) holders.replaced = kNobody;
  found->second.held_bytes -= BytesOf(shard);
}

// `server`, a backup, becomes the primary; who was it, if anybody, becomes a backup.
void ShardPlan::Promote(ShardId shard, int32_t server) {
  const int32_t before = holders(shard).primary;
  GiveUp(shard, server);
  if (before != kNobody) GiveUp(shard, before);
  SetPrimary(shard, server);
  if (before != kNobody) AddBackup(shard, before);
  holders_[static_cast<size_t>(shard)].successor = kNobody;
}

int32_t ShardPlan::HeirOf(const Holders& holders) const {
  int32_t heir = kNobody;
  for (const int32_t backup : holders.backups) {
    if (Has(holders.fresh, backup)) continue;
    if (heir == kNobody || backup == holders.successor) heir = backup;
  }
  return heir;
}

bool ShardPlan::PromoteSuccessors() {
  bool changed = false;
  for (size_t index = 0; index < holders_.size(); ++index) {
    const Holders& holders = holders_[index];
    // A successor that is neither a backup nor on its way has gone.
    if (holders.successor == kNobody) continue;
    if (Has(holders.fresh, holders.successor)) continue;
    if (Has(holders.backups, holders.successor)) {
      Promote(static_cast<ShardId>(index), holders.successor);
      changed = true;
    } else if (!Has(holders.copies, holders.successor)) {
      holders_[index].successor = kNobody;
    }
  }
  return changed;
}

// Backups beyond those wanted go: first those on servers that are to be left, then those that were to be
// replaced, then where most is held. A backup there is kept until it has been replaced, by one that is not
// fresh any more.
bool ShardPlan::DropSurplus() {
  bool changed = false;
  const size_t wanted = BackupsWanted();
  for (size_t index = 0; index < holders_.size(); ++index) {
    const auto shard = static_cast<ShardId>(index);
    while (holders_[index].backups.size() - holders_[index].fresh.size() > wanted) {
      std::vector<int32_t> backups = holders_[index].backups;
      for (const int32_t fresh : holders_[index].fresh) Erase(&backups, fresh);
      const int32_t replaced = holders_[index].replaced;
      const auto goes_first = [this, replaced](int32_t a, int32_t b) {
        const Server& first = servers_.at(a);
        const Server& second = servers_.at(b);
        if (first.drains != second.drains) return first.drains;
        if (a == replaced || b == replaced) return a == replaced && b != replaced;
        return first.held_bytes > second.held_bytes;
      };
      GiveUp(shard, *std::min_element(backups.begin(), backups.end(), goes_first));
      changed = true;
    }
    // What was to come in its place has come, or never will.
    if (holders_[index].copies.empty() && holders_[index].fresh.empty()) holders_[index].replaced = kNobody;
  }
  return changed;
}

bool ShardPlan::CopyToBackups() {
  bool changed = false;
  const auto stays = [this](int32_t server) { return !servers_.at(server).drains; };
  for (const ShardId shard : largest_first_) {
    const Holders& now = holders(shard);
    if (now.primary == kNobody) continue;
    auto coming = static_cast<size_t>(std::count_if(now.backups.begin(), now.backups.end(), stays));
    coming += now.copies.size();
    // A copy that is to be the primary leaves a backup behind, the primary of before, if that stays.
    if (now.successor != kNobody && !stays(now.primary)) coming -= 1;
    for (; coming < BackupsWanted() && HasRoom(); ++coming) {
      const int32_t server = LeastHolding(shard);
      if (server == kNobody) break;
      AddCopy(shard, server);
      changed = true;
    }
  }
  return changed;
}

bool ShardPlan::MovePrimary() {
  if (!HasRoom()) return false;
  const std::optional<Move> move = NextMove();
  if (!move.has_value()) return false;
  Holders& holders = holders_[static_cast<size_t>(move->shard)];
  holders.successor = move->to;
  if (Has(holders.backups, move->to)) {
    PromoteSuccessors();
  } else if (!Has(holders.copies, move->to)) {
    AddCopy(move->shard, move->to);
  }
  return true;
}

std::optional<ShardPlan::Move> ShardPlan::NextMove() const {
  const std::map<int32_t, int64_t> bytes = NextPrimaryBytes();
  const auto less = [&bytes](int32_t a, int32_t b) { return bytes.at(a) < bytes.at(b); };
  std::vector<int32_t> staying = Staying();
  if (staying.empty()) return std::nullopt;
  std::stable_sort(staying.begin(), staying.end(), less);
  const int32_t least = staying.front();
  for (const auto& [id, server] : servers_) {
    if (!server.drains || bytes.at(id) == 0) continue;
    return Move{*LargestBelow(id, std::numeric_limits<int64_t>::max(), least), least};
  }
  for (auto from = staying.rbegin(); from != staying.rend(); ++from) {
    // Only what makes the two more alike: so this ends.
    const int64_t gap = bytes.at(*from) - bytes.at(least);
    if (gap <= SmallestBytes()) break;
    const std::optional<ShardId> shard = LargestBelow(*from, gap, least);
    if (shard.has_value()) return Move{*shard, least};
  }
  return std::nullopt;
}

std::map<int32_t, int64_t> ShardPlan::NextPrimaryBytes() const {
  std::map<int32_t, int64_t> bytes;
  for (const auto& [id, server] : servers_) bytes[id] = server.primary_bytes;
  for (size_t index = 0; index < holders_.size(); ++index) {
    const Holders& holders = holders_[index];
    if (holders.successor == kNobody || holders.primary == kNobody) continue;
    bytes[holders.primary] -= bytes_[index];
    bytes[holders.successor] += bytes_[index];
  }
  return bytes;
}

std::optional<ShardId> ShardPlan::LargestBelow(int32_t from, int64_t below, int32_t to) const {
  std::optional<ShardId> largest;
  for (const ShardId shard : largest_first_) {
    const Holders& held = holders(shard);
    if (largest.has_value() && BytesOf(shard) < BytesOf(*largest)) break;
    if (held.primary != from || held.successor != kNobody || BytesOf(shard) >= below) continue;
    if (Has(held.backups, to)) return shard;
    if (!largest.has_value()) largest = shard;
  }
  return largest;
}

// A copy comes first, then DropSurplus gives up the backup that it replaces. Once no primary is on its way:
// those take backups along.
bool ShardPlan::MoveBackup() {
  if (backups_ == 0 || MovesUnderWay() > 0 || !HasRoom()) return false;
  const std::map<int32_t, int64_t> bytes = NextHeldBytes();
  const auto less = [&bytes](int32_t a, int32_t b) { return bytes.at(a) < bytes.at(b); };
  std::vector<int32_t> least_first = Staying();
  std::stable_sort(least_first.begin(), least_first.end(), less);
  for (auto from = least_first.rbegin(); from != least_first.rend(); ++from) {
    for (const int32_t to : least_first) {
      // Only what makes the two more alike: so this ends.
      const int64_t gap = bytes.at(*from) - bytes.at(to);
      if (gap <= LargestBytes() && bytes.at(to) > 0) break;
      const std::optional<ShardId> shard = LargestBackupBelow(*from, gap, to);
      if (!shard.has_value()) continue;
      AddCopy(*shard, to);
      holders_[static_cast<size_t>(*shard)].replaced = *from;
      return true;
    }
  }
  return false;
}

std::map<int32_t, int64_t> ShardPlan::NextHeldBytes() const {
  std::map<int32_t, int64_t> bytes;
  for (const int32_t server : Staying()) bytes[server] = held_bytes(server);
  for (size_t index = 0; index < holders_.size(); ++index) {
    const auto found = bytes.find(holders_[index].replaced);
    if (found != bytes.end()) found->second -= bytes_[index];
  }
  return bytes;
}

std::optional<ShardId> ShardPlan::LargestBackupBelow(int32_t from, int64_t below, int32_t to) const {
  for (const ShardId shard : largest_first_) {
    const Holders& held = holders(shard);
    const bool is_still = held.copies.empty() && held.fresh.empty() && held.replaced == kNobody;
    if (is_still && Has(held.backups, from) && !Holds(held, to) && BytesOf(shard) < below) return shard;
  }
  return std::nullopt;
}

}  // namespace tessera

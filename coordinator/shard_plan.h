// Which server holds which shard, and how that changes when servers come, go and have copied: primaries,
// their backups, and the copies on their way to become backups or to replace a primary. Pure arithmetic: the
// same events give the same answers. Servers are known by number. Not thread-safe.
//
// Invariants: the primary, the backups and the copies of a shard are different servers, all of them there; a
// backup that is not fresh has every version of the shard that anybody may have read. So any of those may
// take over, and a move is a copy, then a backup, then a primary, while training goes on (docs/adr/0011).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "common/shard_layout.h"
#include "common/types.h"

namespace tessera {

class ShardPlan {
 public:
  static constexpr int32_t kNobody = -1;
  // Copies under way at once: the network and the primaries have training to do.
  static constexpr int kMostCopies = 8;

  struct Holders {
    int32_t primary = kNobody;
    std::vector<int32_t> backups;  // ascending
    std::vector<int32_t> copies;   // being brought up to date, ascending
    // Of the backups those that were copies until lately, ascending: while the primary does not wait for
    // them, it may release what they do not have.
    std::vector<int32_t> fresh;
    int32_t successor = kNobody;  // who is to be the primary, once it is a backup
    friend bool operator==(const Holders&, const Holders&) = default;
  };
  struct Losses {
    std::vector<ShardId> taken_over;  // a backup is the primary now
    std::vector<ShardId> lost;        // nobody has them: the job must go back to a checkpoint
  };

  // `backups` of each shard, as far as there are servers. backups >= 0.
  ShardPlan(const ShardLayout& layout, int32_t backups);

  // A server is there; it holds nothing until Place or Advance say so. One that is there already: nothing.
  void Add(int32_t server);
  // A server is gone, with all that it held. What nobody else has is lost, and held by nobody until Place.
  Losses Remove(int32_t server);
  // A server is to be left: Advance moves what it has to others, as far as there are any.
  void Drain(int32_t server);
  // Whether nothing is held there.
  bool IsEmpty(int32_t server) const;

  // Everything anew on the servers that are there and stay, at most `most` of them, the lowest numbers first:
  // for the start, and when the job goes back.
  void Place(size_t most);
  // `server` has its copy of `shard`: a fresh backup from now on. False: no such copy is under way.
  bool OnCopied(ShardId shard, int32_t server);
  // `server` works by the plan as it is: as a primary it waits for all backups of its shards, and those have
  // what it released before. Returns whether that is news.
  bool OnAdopted(int32_t server);
  // Takes the next steps towards enough backups on the servers that hold least and primaries whose bytes
  // differ by no more than a shard. False: there is nothing to do until something happens. Ends, if it is
  // called again and again and every copy arrives.
  bool Advance();
  // As it was: `shard`, which nobody holds, is held by servers that are there.
  void Restore(ShardId shard, const Holders& holders);

  const Holders& holders(ShardId shard) const { return holders_[static_cast<size_t>(shard)]; }
  // Servers that are there, those that are to be left included, ascending.
  std::vector<int32_t> servers() const;
  int64_t primary_bytes(int32_t server) const;
  // Of primaries, backups and copies.
  int64_t held_bytes(int32_t server) const;
  // Servers that are not to be left.
  size_t staying() const;
  // Of each shard, as far as there are servers that stay.
  size_t BackupsWanted() const;
  int CopiesUnderWay() const;
  // Shards that are to have another primary.
  int MovesUnderWay() const;
  // Nothing is on its way.
  bool IsQuiet() const;

  friend bool operator==(const ShardPlan&, const ShardPlan&) = default;

 private:
  struct Server {
    bool drains = false;
    int64_t primary_bytes = 0;
    int64_t held_bytes = 0;
    friend bool operator==(const Server&, const Server&) = default;
  };

  int64_t BytesOf(ShardId shard) const { return bytes_[static_cast<size_t>(shard)]; }
  // Of the servers that stay and do not hold `shard`, the one that holds least; kNobody if there is none.
  int32_t LeastHolding(ShardId shard) const;
  void SetPrimary(ShardId shard, int32_t server);
  void AddBackup(ShardId shard, int32_t server);
  void AddCopy(ShardId shard, int32_t server);
  // Gives up what `server` holds of `shard`, whatever it is.
  void GiveUp(ShardId shard, int32_t server);
  void Promote(ShardId shard, int32_t server);
  // Who may take over; kNobody if there is none.
  int32_t HeirOf(const Holders& holders) const;
  bool PromoteSuccessors();
  bool DropSurplus();
  bool CopyToBackups();
  bool MoveOne();
  // Where the next primary goes from and to; nothing when they are balanced.
  struct Move {
    ShardId shard = 0;
    int32_t to = kNobody;
  };
  std::optional<Move> NextMove() const;
  // Of the primaries on `from`, the largest smaller than `below` bytes.
  std::optional<ShardId> LargestBelow(int32_t from, int64_t below) const;

  size_t backups_;
  std::vector<int64_t> bytes_;          // by shard
  std::vector<ShardId> largest_first_;  // ties by lower id
  std::vector<Holders> holders_;        // by shard
  std::map<int32_t, Server> servers_;
};

}  // namespace tessera

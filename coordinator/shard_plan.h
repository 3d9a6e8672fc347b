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
  // Copies under way at once: 8, or more of small shards. The network and the primaries have training to do.
  static constexpr int kFewCopies = 8;
  static constexpr int kMostCopies = 256;
  static constexpr int64_t kMostCopyBytes = int64_t{4} << 20;

  struct Holders {
    int32_t primary = kNobody;
    std::vector<int32_t> backups;  // ascending
    std::vector<int32_t> copies;   // being brought up to date, ascending
    // Of the backups those that were copies until lately, ascending: while the primary does not wait for
    // them, it may release what they do not have.
    std::vector<int32_t> fresh;
    int32_t successor = kNobody;  // who is to be the primary, once it is a backup
    // The backup in whose place a copy is to come. Forgotten with the coordinator: then it is the one on the
    // server that holds most.
    int32_t replaced = kNobody;
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

  // Everything anew on the servers that are there and stay: for the start, and when the job goes back.
  void Place();
  // `server` has its copy of `shard`: a fresh backup from now on. False: no such copy is under way.
  bool OnCopied(ShardId shard, int32_t server);
  // `server` works by the plan as it is: as a primary it waits for all backups of its shards, and those have
  // what it released before. Returns whether that is news.
  bool OnAdopted(int32_t server);
  // Takes the next step towards enough backups on the servers that hold least, primaries whose bytes differ
  // by no more than a shard, and then the same of all that is held, as far as moving backups does it. In the
  // end a server that stays holds nothing only where no other holds two things. False: there is nothing to
  // do until something happens. Ends, if it is called again and again and every copy arrives.
  bool Advance();
  // As it was: `shard`, which nobody holds, is held by servers that are there.
  void Restore(ShardId shard, const Holders& holders);

  const Holders& holders(ShardId shard) const { return holders_[static_cast<size_t>(shard)]; }
  // Servers that are there, those that are to be left included, ascending.
  std::vector<int32_t> servers() const;
  int64_t primary_bytes(int32_t server) const;
  // Of primaries, backups and copies.
  int64_t held_bytes(int32_t server) const;
  // Of each shard, as far as there are servers that stay.
  size_t BackupsWanted() const;
  int CopiesUnderWay() const { return copies_; }
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
  // Of a shard; 0: there is none.
  int64_t LargestBytes() const { return largest_first_.empty() ? 0 : BytesOf(largest_first_.front()); }
  int64_t SmallestBytes() const { return largest_first_.empty() ? 0 : BytesOf(largest_first_.back()); }
  // Servers that are not to be left, ascending.
  std::vector<int32_t> Staying() const;
  // Of the servers that stay and do not hold `shard`, the one that holds least; kNobody if there is none.
  int32_t LeastHolding(ShardId shard) const;
  // For another copy.
  bool HasRoom() const {
    return copies_ < kFewCopies || (copies_ < kMostCopies && copy_bytes_ < kMostCopyBytes);
  }
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
  bool MovePrimary();
  bool MoveBackup();
  // Where the next primary goes to; nothing when they are balanced.
  struct Move {
    ShardId shard = 0;
    int32_t to = kNobody;
  };
  std::optional<Move> NextMove() const;
  // By server: of primaries, once all that are on their way have arrived.
  std::map<int32_t, int64_t> NextPrimaryBytes() const;
  // By server that stays: of all that is held, once all copies have come in the place of what they replace.
  std::map<int32_t, int64_t> NextHeldBytes() const;
  // Of the primaries that `from` is to keep, the largest smaller than `below` bytes; of equal ones rather one
  // of which `to` is a backup.
  std::optional<ShardId> LargestBelow(int32_t from, int64_t below, int32_t to) const;
  // The same of its backups, without those that `to` holds in some way.
  std::optional<ShardId> LargestBackupBelow(int32_t from, int64_t below, int32_t to) const;

  size_t backups_;
  std::vector<int64_t> bytes_;          // by shard
  std::vector<ShardId> largest_first_;  // ties by lower id
  std::vector<Holders> holders_;        // by shard
  std::map<int32_t, Server> servers_;
  int copies_ = 0;  // under way
  int64_t copy_bytes_ = 0;
};

}  // namespace tessera

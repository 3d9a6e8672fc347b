// Who belongs to the cluster: registration, indices, leases. A pure state machine: time is passed in, nothing
// waits. Not thread-safe; the coordinator calls it under its lock.
//
// Invariants: an id is never used twice and never 0, also over restarts of the coordinator; of the nodes
// alive no two have a role and an index in common; a node once dead or gone stays so (a restarted process is
// another incarnation, and another node).
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tessera {

enum class NodeRole { kServer, kWorker };

// How a process introduces itself.
struct NodeIntroduction {
  int32_t protocol_version = 0;
  NodeRole role = NodeRole::kWorker;
  std::string address;  // host:port that others reach it at; a worker may have none
  std::string host;
  int64_t pid = 0;
  std::string incarnation;  // unique per process
  std::string fingerprint;  // workers: what may change the last bit of a gradient
};

struct Node {
  enum class State { kAlive, kDead, kLeft };

  int32_t id = 0;
  int32_t index = 0;  // free again for the next one of its role once this one is dead or gone
  NodeIntroduction introduction;
  State state = State::kAlive;
  absl::Time last_seen;
  bool knows_end = false;      // it has been told that the job is over
  int64_t adopted_term = 0;    // of the map that it works with, as it said; 0: none
  int64_t adopted_rewind = 0;  // of that map
  bool draining = false;       // it is to leave
  int64_t newest_version = 0;  // of a server: as HeartbeatRequest says, in the adopted map

  bool alive() const { return state == State::kAlive; }
  // "server 1".
  std::string Name() const;
  // "server 1 (pid 123, 127.0.0.1:4242)".
  std::string Describe() const;
};

struct MembershipOptions {
  int32_t servers = 1;  // how many the job wants
  int32_t workers = 1;
  absl::Duration lease = absl::Seconds(3);
  bool same_fingerprint = true;  // deterministic job: all workers must compute alike
};

class Membership {
 public:
  // Of the dead and gone so many are remembered, the newest.
  static constexpr size_t kMostGone = 256;

  explicit Membership(const MembershipOptions& options) : options_(options) {}

  // So many of a role may be alive at once.
  static int64_t MostAlive(int32_t wanted) { return int64_t{4} * wanted + 64; }

  struct Registration {
    Node* node;
    bool joined;  // false: this incarnation was a member already
  };
  // The node gets the lowest index that is free. Pointers to nodes stay valid until a later call.
  // Errors: kInvalidArgument, no incarnation, a server without address, a field of absurd length;
  // kFailedPrecondition, another protocol version (both are named), MostAlive, a fingerprint that differs
  // from that of the job's first worker (both are named), an incarnation that was declared dead or has left.
  absl::StatusOr<Registration> Register(const NodeIntroduction& introduction, absl::Time now);

  // Errors: kNotFound, no such node alive (or another incarnation of it).
  absl::StatusOr<Node*> FindAlive(int32_t id, absl::string_view incarnation);
  // Whatever its state. Null: no such node, or it is forgotten.
  const Node* Find(int32_t id) const;
  // By process. Null: there is none alive.
  const Node* FindProcess(absl::string_view host, int64_t pid) const;

  // The coordinator itself did not run for `gap`: nobody could renew a lease meanwhile, so nobody loses it.
  void Forgive(absl::Duration gap, absl::Time now);

  // Declares every node dead whose lease has run out; returns those, once.
  std::vector<const Node*> Expire(absl::Time now);
  // It is dead, or has left. Null: there is no such node alive.
  const Node* Remove(int32_t id, Node::State state);

  // As many are alive as the job wants.
  bool complete() const;
  // "waiting for 1 of 2 servers and 2 of 4 workers" (those absent); "" when complete.
  std::string WaitingFor() const;

  const std::map<int32_t, Node>& nodes() const { return nodes_; }  // by id, that is, in order of registration
  // Those alive, in order of index.
  std::vector<const Node*> AliveOf(NodeRole role) const;
  int32_t NumAlive(NodeRole role) const { return static_cast<int32_t>(AliveOf(role).size()); }
  int32_t Wanted(NodeRole role) const {
    return role == NodeRole::kServer ? options_.servers : options_.workers;
  }

  // For the journal: as if this node had registered, whoever else has; later ids are larger.
  void Restore(Node node);
  int32_t next_id() const { return next_id_; }
  // Later nodes get ids from `id` on, at least.
  void SkipIdsTo(int32_t id) { next_id_ = std::max(next_id_, id); }
  const std::string& fingerprint() const { return fingerprint_; }
  void set_fingerprint(std::string fingerprint) { fingerprint_ = std::move(fingerprint); }

 private:
  absl::Status Admit(const NodeIntroduction& introduction) const;
  absl::Status AdmitFingerprint(const NodeIntroduction& introduction) const;
  int32_t FreeIndex(NodeRole role) const;
  void ForgetOldest();

  const MembershipOptions options_;
  std::map<int32_t, Node> nodes_;
  int32_t next_id_ = 1;
  std::string fingerprint_;  // of the job's first worker
};

}  // namespace tessera

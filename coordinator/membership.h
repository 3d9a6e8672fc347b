// Who belongs to the cluster: registration, indices, leases. A pure state machine: time is passed in, nothing
// waits. Not thread-safe; the coordinator calls it under its lock.
//
// Invariants: an id is never used twice and never 0; indices of a role are 0, 1, ... in order of
// registration; a node once dead or gone stays so (a restarted process is another incarnation).
#pragma once

#include <cstdint>
#include <deque>
#include <string>
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
  int32_t index = 0;
  NodeIntroduction introduction;
  State state = State::kAlive;
  absl::Time last_seen;
  bool knows_end = false;  // it has been told that the job is over

  bool alive() const { return state == State::kAlive; }
  // "server 1".
  std::string Name() const;
  // "server 1 (pid 123, 127.0.0.1:4242)".
  std::string Describe() const;
};

struct MembershipOptions {
  int32_t servers = 1;  // how many the job wants, and at most gets
  int32_t workers = 1;
  absl::Duration lease = absl::Seconds(3);
  bool same_fingerprint = true;  // deterministic job: all workers must compute alike
};

class Membership {
 public:
  explicit Membership(const MembershipOptions& options) : options_(options) {}

  struct Registration {
    const Node* node;
    bool joined;  // false: this incarnation was a member already
  };
  // Errors: kInvalidArgument, no incarnation, a server without address, a field of absurd length;
  // kFailedPrecondition, another protocol version (both are named), no place left, a fingerprint that differs
  // from the first worker's (both are named), an incarnation that was declared dead or has left.
  absl::StatusOr<Registration> Register(const NodeIntroduction& introduction, absl::Time now);

  // Errors: kNotFound, no such node alive (or another incarnation of it).
  absl::StatusOr<Node*> FindAlive(int32_t id, absl::string_view incarnation);
  // Whatever its state. Null: no such node.
  const Node* Find(int32_t id) const;

  // The coordinator itself did not run for `gap`: nobody could renew a lease meanwhile, so nobody loses it.
  void Forgive(absl::Duration gap, absl::Time now);

  // Declares every node dead whose lease has run out; returns those, once.
  std::vector<const Node*> Expire(absl::Time now);
  // Declares one dead that another could not reach. Null: there is no such node alive.
  const Node* DeclareDead(int32_t id);

  // All nodes that the job wants have come.
  bool complete() const;
  // "waiting for 1 of 2 servers and 2 of 4 workers" (those absent); "" when complete.
  std::string WaitingFor() const;

  const std::deque<Node>& nodes() const { return nodes_; }  // in order of registration
  // Of `role`, in order of index; dead and gone ones too.
  std::vector<const Node*> NodesOf(NodeRole role) const;
  int32_t NumAlive(NodeRole role) const;

 private:
  absl::Status Admit(const NodeIntroduction& introduction) const;
  absl::Status AdmitFingerprint(const NodeIntroduction& introduction) const;
  int32_t Wanted(NodeRole role) const;
  int32_t Count(NodeRole role) const;

  const MembershipOptions options_;
  std::deque<Node> nodes_;  // id = position + 1; a deque keeps pointers valid
};

}  // namespace tessera

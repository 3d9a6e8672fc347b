#include "coordinator/membership.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/protocol.h"
#include "common/status.h"

namespace tessera {
namespace {

constexpr size_t kMaxFieldBytes = 4096;

absl::string_view RoleName(NodeRole role) { return role == NodeRole::kServer ? "server" : "worker"; }

absl::Status CheckFields(const NodeIntroduction& introduction) {
  for (const std::string* field :
       {&introduction.address, &introduction.host, &introduction.incarnation, &introduction.fingerprint}) {
    if (field->size() > kMaxFieldBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("a field of ", field->size(), " bytes in a registration; at most ", kMaxFieldBytes));
    }
  }
  if (introduction.incarnation.empty())
    return absl::InvalidArgumentError("a registration without incarnation");
  if (introduction.role == NodeRole::kServer && introduction.address.empty()) {
    return absl::InvalidArgumentError("a server must register with the address that workers reach it at");
  }
  return absl::OkStatus();
}

absl::Status CheckProtocol(const NodeIntroduction& introduction) {
  if (introduction.protocol_version == kProtocolVersion) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("this ", RoleName(introduction.role), " speaks protocol version ",
                   introduction.protocol_version, ", the coordinator version ", kProtocolVersion));
}

}  // namespace

std::string Node::Name() const { return absl::StrCat(RoleName(introduction.role), " ", index); }

std::string Node::Describe() const {
  const std::string& place = introduction.address.empty() ? introduction.host : introduction.address;
  return absl::StrCat(Name(), " (pid ", introduction.pid, place.empty() ? "" : ", ", place, ")");
}

absl::StatusOr<Membership::Registration> Membership::Register(const NodeIntroduction& introduction,
                                                              absl::Time now) {
  TESSERA_RETURN_IF_ERROR(CheckFields(introduction));
  TESSERA_RETURN_IF_ERROR(CheckProtocol(introduction));
  for (Node& node : nodes_) {
    if (node.introduction.incarnation != introduction.incarnation) continue;
    if (!node.alive() || node.introduction.role != introduction.role) {
      return absl::FailedPreconditionError(absl::StrCat(node.Describe(), " was declared dead or has left"));
    }
    node.last_seen = now;
    return Registration{&node, false};
  }
  TESSERA_RETURN_IF_ERROR(Admit(introduction));
  Node node;
  node.id = static_cast<int32_t>(nodes_.size()) + 1;
  node.index = Count(introduction.role);
  node.introduction = introduction;
  node.last_seen = now;
  nodes_.push_back(std::move(node));
  return Registration{&nodes_.back(), true};
}

absl::Status Membership::Admit(const NodeIntroduction& introduction) const {
  const NodeRole role = introduction.role;
  if (Count(role) >= Wanted(role)) {
    return absl::FailedPreconditionError(absl::StrCat("the cluster is full: the job has all of its ",
                                                      Wanted(role), " ", RoleName(role),
                                                      Wanted(role) == 1 ? "" : "s"));
  }
  return AdmitFingerprint(introduction);
}

absl::Status Membership::AdmitFingerprint(const NodeIntroduction& introduction) const {
  if (introduction.role != NodeRole::kWorker || !options_.same_fingerprint) return absl::OkStatus();
  const std::vector<const Node*> workers = NodesOf(NodeRole::kWorker);
  if (workers.empty()) return absl::OkStatus();
  const Node& first = *workers.front();
  if (first.introduction.fingerprint == introduction.fingerprint) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "a deterministic job needs workers that compute alike: the worker of pid ", introduction.pid, " on ",
      introduction.host, " has `", introduction.fingerprint, "`, ", first.Name(), " has `",
      first.introduction.fingerprint, "`; set train.deterministic to false to mix them"));
}

absl::StatusOr<Node*> Membership::FindAlive(int32_t id, absl::string_view incarnation) {
  if (Find(id) == nullptr) return absl::NotFoundError(absl::StrCat("no node has id ", id));
  Node& node = nodes_[static_cast<size_t>(id) - 1];
  if (node.introduction.incarnation != incarnation) {
    return absl::NotFoundError(absl::StrCat("node ", id, " is ", node.Describe(), ", another process"));
  }
  if (!node.alive()) {
    return absl::NotFoundError(
        absl::StrCat(node.Describe(), node.state == Node::State::kDead ? " was declared dead" : " has left"));
  }
  return &node;
}

const Node* Membership::Find(int32_t id) const {
  if (id < 1 || static_cast<size_t>(id) > nodes_.size()) return nullptr;
  return &nodes_[static_cast<size_t>(id) - 1];
}

void Membership::Forgive(absl::Duration gap, absl::Time now) {
  for (Node& node : nodes_) node.last_seen = std::min(node.last_seen + gap, now);
}

std::vector<const Node*> Membership::Expire(absl::Time now) {
  std::vector<const Node*> dead;
  for (Node& node : nodes_) {
    if (!node.alive() || now - node.last_seen < options_.lease) continue;
    node.state = Node::State::kDead;
    dead.push_back(&node);
  }
  return dead;
}

const Node* Membership::DeclareDead(int32_t id) {
  if (Find(id) == nullptr || !Find(id)->alive()) return nullptr;
  Node& node = nodes_[static_cast<size_t>(id) - 1];
  node.state = Node::State::kDead;
  return &node;
}

bool Membership::complete() const {
  return Count(NodeRole::kServer) == options_.servers && Count(NodeRole::kWorker) == options_.workers;
}

std::string Membership::WaitingFor() const {
  std::vector<std::string> missing;
  for (const NodeRole role : {NodeRole::kServer, NodeRole::kWorker}) {
    const int32_t absent = Wanted(role) - Count(role);
    if (absent == 0) continue;
    missing.push_back(
        absl::StrCat(absent, " of ", Wanted(role), " ", RoleName(role), Wanted(role) == 1 ? "" : "s"));
  }
  return missing.empty() ? "" : absl::StrCat("waiting for ", absl::StrJoin(missing, " and "));
}

std::vector<const Node*> Membership::NodesOf(NodeRole role) const {
  std::vector<const Node*> nodes;
  for (const Node& node : nodes_) {
    if (node.introduction.role == role) nodes.push_back(&node);
  }
  return nodes;
}

int32_t Membership::NumAlive(NodeRole role) const {
  return static_cast<int32_t>(std::count_if(nodes_.begin(), nodes_.end(), [role](const Node& node) {
    return node.introduction.role == role && node.alive();
  }));
}

int32_t Membership::Wanted(NodeRole role) const {
  return role == NodeRole::kServer ? options_.servers : options_.workers;
}

int32_t Membership::Count(NodeRole role) const {
  return static_cast<int32_t>(std::count_if(
      nodes_.begin(), nodes_.end(), [role](const Node& node) { return node.introduction.role == role; }));
}

}  // namespace tessera

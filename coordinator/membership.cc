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
  for (auto& [id, node] : nodes_) {
    if (node.introduction.incarnation != introduction.incarnation) continue;
    if (!node.alive() || node.introduction.role != introduction.role) {
      return absl::FailedPreconditionError(absl::StrCat(node.Describe(), " was declared dead or has left"));
    }
    node.last_seen = now;
    return Registration{&node, false};
  }
  TESSERA_RETURN_IF_ERROR(Admit(introduction));
  const bool is_worker = introduction.role == NodeRole::kWorker;
  if (is_worker && fingerprint_.empty()) fingerprint_ = introduction.fingerprint;
  Node node;
  node.id = next_id_++;
  node.index = FreeIndex(introduction.role);
  node.introduction = introduction;
  node.last_seen = now;
  return Registration{&nodes_.emplace(node.id, std::move(node)).first->second, true};
}

absl::Status Membership::Admit(const NodeIntroduction& introduction) const {
  const NodeRole role = introduction.role;
  const int64_t most = MostAlive(Wanted(role));
  if (NumAlive(role) >= most) {
    return absl::FailedPreconditionError(absl::StrCat("the cluster is full: ", most, " ", RoleName(role),
                                                      "s are alive, the job wants ", Wanted(role)));
  }
  return AdmitFingerprint(introduction);
}

absl::Status Membership::AdmitFingerprint(const NodeIntroduction& introduction) const {
  if (introduction.role != NodeRole::kWorker || !options_.same_fingerprint) return absl::OkStatus();
  if (fingerprint_.empty() || fingerprint_ == introduction.fingerprint) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "a deterministic job needs workers that compute alike: the worker of pid ", introduction.pid, " on ",
      introduction.host, " has `", introduction.fingerprint, "`, the job's first worker has `", fingerprint_,
      "`; set train.deterministic to false to mix them"));
}

int32_t Membership::FreeIndex(NodeRole role) const {
  int32_t free = 0;
  for (const Node* node : AliveOf(role)) {
    if (node->index == free) ++free;
  }
  return free;
}

absl::StatusOr<Node*> Membership::FindAlive(int32_t id, absl::string_view incarnation) {
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return absl::NotFoundError(absl::StrCat("no node has id ", id));
  Node& node = found->second;
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
  const auto found = nodes_.find(id);
  return found == nodes_.end() ? nullptr : &found->second;
}

const Node* Membership::FindProcess(absl::string_view host, int64_t pid) const {
  for (const auto& [id, node] : nodes_) {
    if (node.alive() && node.introduction.pid == pid && node.introduction.host == host) return &node;
  }
  return nullptr;
}

void Membership::Forgive(absl::Duration gap, absl::Time now) {
  for (auto& [id, node] : nodes_) node.last_seen = std::min(node.last_seen + gap, now);
}

std::vector<const Node*> Membership::Expire(absl::Time now) {
  ForgetOldest();
  std::vector<const Node*> dead;
  for (auto& [id, node] : nodes_) {
    if (!node.alive() || now - node.last_seen < options_.lease) continue;
    node.state = Node::State::kDead;
    dead.push_back(&node);
  }
  return dead;
}

const Node* Membership::Remove(int32_t id, Node::State state) {
  const auto found = nodes_.find(id);
  if (found == nodes_.end() || !found->second.alive()) return nullptr;
  found->second.state = state;
  return &found->second;
}

void Membership::ForgetOldest() {
  const auto is_gone = [](const auto& entry) { return !entry.second.alive(); };
  size_t gone = std::count_if(nodes_.begin(), nodes_.end(), is_gone);
  for (auto entry = nodes_.begin(); gone > kMostGone; --gone) {
    entry = nodes_.erase(std::find_if(entry, nodes_.end(), is_gone));
  }
}

bool Membership::complete() const {
  return NumAlive(NodeRole::kServer) >= options_.servers && NumAlive(NodeRole::kWorker) >= options_.workers;
}

std::string Membership::WaitingFor() const {
  std::vector<std::string> missing;
  for (const NodeRole role : {NodeRole::kServer, NodeRole::kWorker}) {
    const int32_t absent = Wanted(role) - NumAlive(role);
    if (absent <= 0) continue;
    missing.push_back(
        absl::StrCat(absent, " of ", Wanted(role), " ", RoleName(role), Wanted(role) == 1 ? "" : "s"));
  }
  return missing.empty() ? "" : absl::StrCat("waiting for ", absl::StrJoin(missing, " and "));
}

std::vector<const Node*> Membership::AliveOf(NodeRole role) const {
  std::vector<const Node*> alive;
  for (const auto& [id, node] : nodes_) {
    if (node.alive() && node.introduction.role == role) alive.push_back(&node);
  }
  std::sort(alive.begin(), alive.end(), [](const Node* a, const Node* b) { return a->index < b->index; });
  return alive;
}

void Membership::Restore(Node node) {
  next_id_ = std::max(next_id_, node.id + 1);
  nodes_[node.id] = std::move(node);
}

}  // namespace tessera

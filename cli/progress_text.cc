#include "cli/progress_text.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace tessera::cli {
namespace {

constexpr char kGap[] = "  ";
constexpr char kParked[] = "parked: ";
constexpr int kWidestBar = 40;
constexpr int kNarrowestBar = 8;

std::string Join(const std::vector<std::string>& parts) { return absl::StrJoin(parts, kGap); }

double Fraction(const wire::JobStatus& status) {
  if (status.total_steps() <= 0) return 0;
  return static_cast<double>(status.step()) / static_cast<double>(status.total_steps());
}

// An epoch is shown as the current one until it has been evaluated, too.
std::string EpochPart(const wire::JobStatus& status) {
  const int64_t current = std::min<int64_t>(status.epochs_done_size() + 1, status.epochs());
  return absl::StrCat("epoch ", current, "/", status.epochs());
}

bool Evaluating(const wire::JobStatus& status) {
  return status.steps_per_epoch() > 0 && status.step() / status.steps_per_epoch() > status.epochs_done_size();
}

std::string StepPart(const wire::JobStatus& status) {
  if (Evaluating(status)) return "evaluating";
  return absl::StrCat("step ", FormatCount(static_cast<double>(status.step())), "/",
                      FormatCount(static_cast<double>(status.total_steps())));
}

std::string RatePart(const wire::JobStatus& status) {
  return absl::StrCat(FormatCount(status.images_per_second()), " images/s");
}

// Nothing before the first steps have shown a rate.
std::vector<std::string> RemainingPart(const wire::JobStatus& status) {
  if (status.step() <= 0 || status.elapsed_seconds() < 1) return {};
  const double left = static_cast<double>(status.total_steps() - status.step());
  return {absl::StrCat(FormatSeconds(status.elapsed_seconds() / static_cast<double>(status.step()) * left),
                       " to go")};
}

std::string PhaseWords(const wire::JobStatus& status) {
  return status.message().empty() ? PhaseName(status.phase()) : status.message();
}

std::string JobPart(const wire::JobStatus& status, const TextStyle& style) {
  return absl::StrCat(Paint(style, Tone::kBold, status.job()), kGap,
                      Paint(style, Tone::kDim,
                            absl::StrCat(status.mode(), ", ", status.replicas(),
                                         status.replicas() == 1 ? " replica of " : " replicas of ",
                                         status.batch_size(), " images")));
}

std::string BarLine(const wire::JobStatus& status, const TextStyle& style, int width) {
  std::vector<std::string> parts = {absl::StrFormat("%3.0f %%", std::floor(100 * Fraction(status))),
                                    EpochPart(status), StepPart(status)};
  for (std::string& part : RemainingPart(status)) parts.push_back(std::move(part));
  const std::string words = Join(parts);
  const int bar = std::min(kWidestBar, width - DisplayWidth(words) - 1);
  if (bar < kNarrowestBar) return words;
  return absl::StrCat(FormatBar(style, Fraction(status), bar), " ", words);
}

std::string FiguresLine(const wire::JobStatus& status) {
  std::vector<std::string> parts;
  if (status.step() % std::max<int64_t>(status.steps_per_epoch(), 1) > 0) {
    parts.push_back(absl::StrCat("loss ", FormatLoss(status.train_loss())));
  }
  if (status.epochs_done_size() > 0 && status.epochs_done().rbegin()->evaluated()) {
    const wire::EpochResult& last = *status.epochs_done().rbegin();
    parts.push_back(
        absl::StrCat("test accuracy ", FormatAccuracy(last.test_accuracy()), " (epoch ", last.epoch(), ")"));
  }
  parts.push_back(RatePart(status));
  parts.push_back(FormatSeconds(status.elapsed_seconds()));
  return Join(parts);
}

// "parked: waiting for a server, 3 s", where training cannot go on.
std::string ParkedLine(const wire::JobStatus& status) {
  if (status.message().empty() || absl::StartsWith(status.message(), kParked)) return status.message();
  return absl::StrCat(kParked, status.message());
}

bool InStep(const wire::JobStatus& status) { return status.mode() == "sync"; }

int64_t Dropped(const wire::JobStatus& status) {
  int64_t dropped = 0;
  for (const wire::ReplicaStatus& replica : status.replica_status()) dropped += replica.dropped();
  return dropped;
}

std::string StalenessPart(const wire::JobStatus& status) {
  return absl::StrCat(
      absl::StrFormat("staleness %.1f, max %d", status.staleness_mean(), status.staleness_max()),
      status.staleness_bound() < 0 ? "" : absl::StrCat(" of ", status.staleness_bound()));
}

// From the slowest to the fastest; nothing before both are known.
std::vector<std::string> ReplicaRatesPart(const wire::JobStatus& status) {
  double slowest = 0, fastest = 0;
  for (const wire::ReplicaStatus& replica : status.replica_status()) {
    const double rate = replica.images_per_second();
    if (!(rate > 0)) continue;
    slowest = slowest > 0 ? std::min(slowest, rate) : rate;
    fastest = std::max(fastest, rate);
  }
  if (slowest == 0) return {};
  return {absl::StrCat("replicas ", FormatCount(slowest), " to ", FormatCount(fastest), " images/s")};
}

// Servers first, then workers, each by number. The coordinator lists nodes as they came, also dead ones whose
// names others have taken: of each name, the last counts.
std::vector<wire::NodeStatus> SortedNodes(const wire::JobStatus& status) {
  std::map<std::string, wire::NodeStatus> last;
  for (const wire::NodeStatus& node : status.nodes()) last[node.name()] = node;
  std::vector<wire::NodeStatus> nodes;
  for (const auto& [name, node] : last) nodes.push_back(node);
  std::stable_sort(nodes.begin(), nodes.end(), [](const wire::NodeStatus& a, const wire::NodeStatus& b) {
    const auto key = [](const wire::NodeStatus& node) {
      return std::make_tuple(node.name().substr(0, node.name().find(' ')), node.name().size(), node.name());
    };
    return key(a) < key(b);
  });
  return nodes;
}

std::string NodesLine(const wire::JobStatus& status, const TextStyle& style) {
  int alive = 0;
  std::vector<std::string> names;
  const std::vector<wire::NodeStatus> nodes = SortedNodes(status);
  for (const wire::NodeStatus& node : nodes) {
    alive += node.alive() ? 1 : 0;
    if (!node.alive()) {
      names.push_back(Paint(style, Tone::kBad, absl::StrCat(node.name(), " gone")));
    } else {
      names.push_back(node.idle() ? absl::StrCat(node.name(), " idle") : node.name());
    }
  }
  return absl::StrCat(alive, " of ", nodes.size(), " nodes alive",
                      names.empty() ? "" : absl::StrCat(": ", absl::StrJoin(names, ", ")));
}

// "4 shards, 0.8 MiB, backup of 2, 0.4 MiB, 1 being copied, leaving".
std::string ServerDuty(const wire::NodeStatus& node) {
  std::vector<std::string> parts;
  if (node.shards() > 0) {
    parts.push_back(absl::StrCat(node.shards(), " shards, ", FormatSize(node.shard_bytes())));
  }
  if (node.backups() > 0) {
    parts.push_back(absl::StrCat("backup of ", node.backups(), ", ", FormatSize(node.backup_bytes())));
  }
  if (node.copies() > 0) parts.push_back(absl::StrCat(node.copies(), " being copied"));
  if (node.alive() && node.draining()) parts.push_back("leaving");
  return absl::StrJoin(parts, ", ");
}

// What a node does for the job: as a server, or "replicas 0, 1".
std::string Duty(const wire::NodeStatus& node) {
  if (std::string duty = ServerDuty(node); !duty.empty()) return duty;
  if (node.replicas_size() > 0) {
    return absl::StrCat(node.replicas_size() == 1 ? "replica " : "replicas ",
                        absl::StrJoin(node.replicas(), ", "));
  }
  return node.idle() ? "idle" : "";
}

std::string TrimRight(std::string line) {
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

std::string NodeRow(const wire::NodeStatus& node, const TextStyle& style) {
  const std::string state = node.alive() ? "alive" : "gone";
  const std::string padding(state == "gone" ? 1 : 0, ' ');
  return TrimRight(absl::StrCat(
      absl::StrFormat("%-12s", node.name()), Paint(style, node.alive() ? Tone::kGood : Tone::kBad, state),
      padding, absl::StrFormat("  pid %-8d", node.pid()), absl::StrFormat("%-16s", node.host()),
      absl::StrFormat("%-22s", node.address().empty() ? "-" : node.address()),
      absl::StrFormat("%6.1f s  ", static_cast<double>(node.lease_age_ms()) / 1000), Duty(node)));
}

// "replica 2   clock 1,204   301 images/s   worker 1   12 dropped".
std::string ReplicaRow(const wire::ReplicaStatus& replica) {
  const double rate = replica.images_per_second();
  const std::string dropped =
      replica.dropped() > 0 ? absl::StrCat(FormatCount(static_cast<double>(replica.dropped())), " dropped")
                            : "";
  return TrimRight(
      absl::StrFormat("%-14sclock %-9s%9s images/s  %-13s%s", absl::StrCat("replica ", replica.replica()),
                      FormatCount(static_cast<double>(replica.clock())), rate > 0 ? FormatCount(rate) : "-",
                      absl::StrCat("worker ", replica.worker()), dropped));
}

// "" for what is no news: deaths and restarts are told by whoever starts processes.
std::string EventLine(const wire::Event& event) {
  for (const char* told :
       {"takeover", "rewind", "parked", "resumed", "moved", "drain", "checkpoint failed", "warning"}) {
    if (event.what() == told) return absl::StrCat(event.what(), ": ", event.message());
  }
  return "";
}

}  // namespace

std::string PhaseName(wire::Phase phase) {
  switch (phase) {
    case wire::WAITING:
      return "waiting for nodes";
    case wire::RUNNING:
      return "running";
    case wire::FINISHING:
      return "collecting the weights";
    case wire::DONE:
      return "done";
    case wire::FAILED:
      return "failed";
    case wire::STOPPED:
      return "stopped";
    default:
      return "in a phase that this version does not know";
  }
}

std::string EpochLine(const wire::JobStatus& status, const wire::EpochResult& epoch) {
  std::vector<std::string> parts = {absl::StrCat("epoch ", epoch.epoch(), "/", status.epochs()),
                                    absl::StrCat("train loss ", FormatLoss(epoch.train_loss()))};
  if (epoch.evaluated()) {
    parts.push_back(absl::StrCat("test accuracy ", FormatAccuracy(epoch.test_accuracy())));
    parts.push_back(absl::StrCat("test loss ", FormatLoss(epoch.test_loss())));
  }
  parts.push_back(RatePart(status));
  parts.push_back(FormatSeconds(status.elapsed_seconds()));
  return Join(parts);
}

std::string ProgressLine(const wire::JobStatus& status) {
  if (status.phase() != wire::RUNNING) return PhaseWords(status);
  if (std::string line = ParkedLine(status); !line.empty()) return line;
  std::vector<std::string> parts = {EpochPart(status), StepPart(status)};
  if (!Evaluating(status)) parts.push_back(absl::StrCat("loss ", FormatLoss(status.train_loss())));
  parts.push_back(RatePart(status));
  for (std::string& part : RemainingPart(status)) parts.push_back(std::move(part));
  return Join(parts);
}

std::string ModeLine(const wire::JobStatus& status) {
  std::vector<std::string> parts;
  const int64_t dropped = Dropped(status);
  if (status.replica_status().empty() || (InStep(status) && dropped == 0)) return "";
  if (InStep(status)) {
    parts.push_back(absl::StrCat("dropped ", FormatCount(static_cast<double>(dropped)),
                                 dropped == 1 ? " minibatch" : " minibatches"));
  } else {
    parts.push_back(StalenessPart(status));
    parts.push_back(absl::StrCat("clock lead ", status.clock_lead()));
  }
  for (std::string& part : ReplicaRatesPart(status)) parts.push_back(std::move(part));
  return Join(parts);
}

std::string RecoveryLine(const wire::JobStatus& status) {
  std::vector<std::string> parts;
  if (status.fewest_backups() < status.server_backups() && status.term() > 0) {
    parts.push_back(
        absl::StrCat("shards have ", status.fewest_backups(), " of ", status.server_backups(), " backups"));
  }
  if (status.copying() > 0) {
    parts.push_back(
        absl::StrCat(status.copying(), status.copying() == 1 ? " copy" : " copies", " under way"));
  }
  if (status.moving() > 0) {
    parts.push_back(absl::StrCat(status.moving(), status.moving() == 1 ? " shard on its" : " shards on their",
                                 " way to another server"));
  }
  if (status.recomputed_steps() > 0) {
    parts.push_back(absl::StrCat("recomputed ", FormatCount(static_cast<double>(status.recomputed_steps())),
                                 status.recomputed_steps() == 1 ? " step" : " steps"));
  }
  if (status.checkpoint_step() > 0) {
    parts.push_back(absl::StrCat("newest checkpoint at step ",
                                 FormatCount(static_cast<double>(status.checkpoint_step()))));
  }
  return Join(parts);
}

std::vector<std::string> LiveFrame(const wire::JobStatus& status, const TextStyle& style, int width) {
  std::vector<std::string> lines = {JobPart(status, style)};
  if (status.phase() == wire::RUNNING) {
    lines.push_back(BarLine(status, style, width));
    lines.push_back(FiguresLine(status));
    for (std::string line : {ModeLine(status), RecoveryLine(status), ParkedLine(status)}) {
      if (!line.empty()) lines.push_back(std::move(line));
    }
  } else {
    lines.push_back(PhaseWords(status));
  }
  lines.push_back(NodesLine(status, style));
  for (std::string& line : lines) line = FitWidth(line, width);
  return lines;
}

std::vector<std::string> StatusPage(const wire::JobStatus& status, const TextStyle& style) {
  std::vector<std::string> lines = {
      absl::StrCat(JobPart(status, style), kGap, PhaseName(status.phase())),
  };
  const std::string words = status.phase() == wire::RUNNING ? ParkedLine(status) : status.message();
  if (!words.empty()) lines.push_back(words);
  lines.push_back(Join({EpochPart(status), StepPart(status), FiguresLine(status)}));
  for (std::string line : {ModeLine(status), RecoveryLine(status)}) {
    if (!line.empty()) lines.push_back(std::move(line));
  }
  for (const wire::EpochResult& epoch : status.epochs_done()) {
    std::string line =
        absl::StrCat("  epoch ", epoch.epoch(), "  train loss ", FormatLoss(epoch.train_loss()));
    if (epoch.evaluated()) {
      absl::StrAppend(&line, "  test accuracy ", FormatAccuracy(epoch.test_accuracy()), "  test loss ",
                      FormatLoss(epoch.test_loss()));
    }
    lines.push_back(std::move(line));
  }
  for (const wire::NodeStatus& node : SortedNodes(status)) {
    lines.push_back(absl::StrCat("  ", NodeRow(node, style)));
  }
  for (const wire::ReplicaStatus& replica : status.replica_status()) {
    lines.push_back(absl::StrCat("  ", ReplicaRow(replica)));
  }
  return lines;
}

std::vector<std::string> ProgressNews::Take(const wire::JobStatus& status) {
  std::vector<std::string> lines;
  events_ = std::min(events_, status.events_size());
  epochs_ = std::min(epochs_, status.epochs_done_size());
  for (; events_ < status.events_size(); ++events_) {
    const wire::Event& event = status.events(events_);
    if (std::string line = EventLine(event); !line.empty()) lines.push_back(std::move(line));
  }
  for (; epochs_ < status.epochs_done_size(); ++epochs_) {
    lines.push_back(EpochLine(status, status.epochs_done(epochs_)));
  }
  return lines;
}

}  // namespace tessera::cli

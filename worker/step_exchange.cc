#include "worker/step_exchange.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/replica_tree.h"
#include "common/status.h"
#include "worker/nn/batch_check.h"

namespace tessera {
namespace {

// Idle gradient buffers that are kept for the next step; a worker holds few more than one model's.
constexpr size_t kGradientPoolBytes = size_t{1} << 30;
constexpr size_t kGradientAlignment = 64;  // what a gradient may take beyond its floats
constexpr size_t kGroupsUnderWay = 3;
constexpr size_t kUntoldBytes = 4 << 20;  // servers tell a little late that they are done with a gradient

int CountWeightBlocks(const std::vector<ParameterBlock>& blocks) {
  return static_cast<int>(std::count_if(blocks.begin(), blocks.end(), [](const ParameterBlock& block) {
    return block.kind == ParameterKind::kWeight;
  }));
}

// `replicas` of one group, counted from its first.
ReplicaRange InGroup(ReplicaRange replicas, int32_t group) {
  const ReplicaId first = replicas.first / group * group;
  return {replicas.first - first, replicas.last - first};
}

// Of a group's `replicas` that run here, the gradients of one block that are needed at once: the one that is
// written, those that wait for their sibling on each level of the tree, and the nodes that were pushed, which
// the client keeps until the round is complete, and a server of this machine reads where they lie. No replica
// begins its next step before.
size_t GradientsAtOnce(ReplicaRange replicas, int32_t group) {
  size_t most = 0, pushed = 0;
  for (const ReplicaRange& node : ReplicaTree(group).Cover(InGroup(replicas, group))) {
    const auto levels = static_cast<size_t>(std::bit_width(static_cast<uint32_t>(node.last - node.first)));
    most = std::max(most, pushed + 1 + levels);
    ++pushed;
  }
  return most;
}

}  // namespace

StepExchange::StepExchange(const StepExchangeOptions& options, const nn::Graph& graph,
                           ParameterClient* client, PulledWeights* weights,
                           std::shared_ptr<TensorMemory> memory, TraceTrack trace)
    : options_(options),
      blocks_(graph.blocks()),
      client_(client),
      weights_(weights),
      pool_(kGradientPoolBytes, std::move(memory)),
      gradients_(blocks_.size()),
      trace_(trace) {
  for (const ParameterBlock& block : blocks_) {
    if (trace_) trace_names_.push_back(trace_.recorder->Name(block.layer));
  }
  const ReplicaTree tree(options_.group);
  for (const ReplicaRange& local : weights_->groups()) {
    const ReplicaRange counted = InGroup(local, options_.group);
    groups_.push_back({local.first - counted.first, tree.Cover(counted).back(),
                       std::vector<LocalReducer>(blocks_.size(), LocalReducer(tree, counted))});
  }
  if (options_.clip_norm > 0) clipper_.emplace(options_.clip_norm, CountWeightBlocks(blocks_));
}

size_t StepExchange::GradientBytes(const std::vector<ParameterBlock>& blocks,
                                   absl::Span<const ReplicaRange> local, int32_t group) {
  size_t model = 0;
  for (const ParameterBlock& block : blocks) {
    model += static_cast<size_t>(block.num_elements()) * sizeof(float) + kGradientAlignment;
  }
  // While one group computes, the pushes of others may be under way: seldom of more than a few.
  size_t most = 1;
  for (const ReplicaRange& replicas : local) most = std::max(most, GradientsAtOnce(replicas, group));
  return model * (most + std::min(local.size() - 1, kGroupsUnderWay)) + kUntoldBytes;
}

void StepExchange::Begin(int group, ReplicaId replica, Clock clock) {
  group_ = group;
  replica_ = replica;
  clock_ = clock;
}

TraceArgs StepExchange::TraceArgsOf(int block) const {
  TraceArgs args;
  if (!trace_) return args;
  args.layer = trace_names_[static_cast<size_t>(block)];
  args.replicas = {replica_, replica_};
  args.clock = clock_;
  return args;
}

absl::StatusOr<absl::Span<const float>> StepExchange::Weights(int block) {
  const TraceSpan span(trace_, TraceKind::kWait, TraceArgsOf(block));
  return AwaitWeights(block);
}

absl::StatusOr<absl::Span<const float>> StepExchange::AwaitWeights(int block) {
  return weights_->Wait(group_, block, clock_, absl::Now() + options_.patience);
}

absl::Span<float> StepExchange::Gradient(int block) {
  std::shared_ptr<TensorBuffer>& gradient = gradients_[static_cast<size_t>(block)];
  if (gradient == nullptr) {
    gradient = pool_.Take(static_cast<size_t>(blocks_[static_cast<size_t>(block)].num_elements()));
  }
  return gradient->span();
}

absl::Status StepExchange::GradientReady(int block) {
  const TraceSpan span(trace_, TraceKind::kPush, TraceArgsOf(block));
  const ParameterBlock& described = blocks_[static_cast<size_t>(block)];
  std::shared_ptr<TensorBuffer> gradient = std::move(gradients_[static_cast<size_t>(block)]);
  if (!nn::AllFinite(gradient->span())) {
    return absl::OutOfRangeError(absl::StrCat("layer `", described.layer, "`: its gradient is not finite"));
  }
  // The push names the version it was computed on. A training step does not read the batch-norm statistics,
  // so that those may still be on their way.
  TESSERA_RETURN_IF_ERROR(AwaitWeights(block).status());
  if (!clipper_.has_value() || described.kind == ParameterKind::kStatistic) {
    Push(block, std::move(gradient));
    return absl::OkStatus();
  }
  for (BlockGradient& clipped : clipper_->Add({block, std::move(gradient)})) {
    Push(clipped.block, std::move(clipped.gradient));
  }
  return absl::OkStatus();
}

void StepExchange::Push(int block, std::shared_ptr<TensorBuffer> gradient) {
  Group& group = groups_[static_cast<size_t>(group_)];
  std::optional<LocalReducer::Node> node =
      group.reducers[static_cast<size_t>(block)].Add(replica_ - group.first, std::move(gradient));
  if (!node.has_value()) return;
  PushReply reply = PushReply::kAcknowledgement;
  if (node->replicas == group.last_node) {
    reply = clock_ + 1 == options_.total_steps ? PushReply::kSettledWeights : PushReply::kWeights;
  }
  const ReplicaRange replicas{group.first + node->replicas.first, group.first + node->replicas.last};
  client_->Push(group_, block, replicas, clock_, std::move(node->sum), reply);
}

}  // namespace tessera

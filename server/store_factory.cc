#include "server/store_factory.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/starting_weights.h"
#include "common/status.h"

namespace tessera {
namespace {

// Beyond this no run gets: what is due there is never due.
constexpr Clock kNever = Clock{1} << 40;

ConsistencyOptions ConsistencyOf(const TrainSpec& train, absl::Span<const ReplicaRange> units) {
  const ConsistencySpec& spec = train.consistency;
  ConsistencyOptions options{.replicas = train.replicas,
                             .group = spec.group,
                             .staleness = spec.staleness,
                             .drop_stragglers = spec.drop_stragglers,
                             .units = {units.begin(), units.end()}};
  if (spec.group != 0) return options;
  options.group = spec.mode == "sync" ? train.replicas : 1;
  if (spec.mode == "async") options.staleness = ConsistencyOptions::kUnbounded;
  return options;
}

absl::StatusOr<StalenessCorrection> CorrectionOf(const ConsistencySpec& spec) {
  StalenessCorrection correction{.lambda = spec.dc_lambda, .adaptive = spec.dc_adaptive};
  TESSERA_ASSIGN_OR_RETURN(correction.kind, ParseStalenessCorrection(spec.staleness_correction));
  return correction;
}

// What shards start with when the job has a weights file, which must be the one that `digests` come from;
// empty when it has none.
absl::StatusOr<std::function<absl::Status(ShardId, absl::Span<float>)>> InitialOf(
    const JobSpec& job, const ShardLayout& layout, absl::Span<const uint64_t> digests) {
  if (job.model.weights.empty()) return nullptr;
  TESSERA_ASSIGN_OR_RETURN(StartingWeights weights,
                           StartingWeights::Create({job.model.weights, job.model.replace, job.seed}, layout));
  return [weights = std::make_shared<const StartingWeights>(std::move(weights)), layout,
          path = job.model.weights, expected = std::vector<uint64_t>(digests.begin(), digests.end())](
             ShardId id, absl::Span<float> out) {
    TESSERA_RETURN_IF_ERROR(weights->Fill(id, out));
    if (expected.empty() || expected[id] == ShardDigest(out)) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("model.weights: ", path,
                     " here is not the file that the coordinator has: ", layout.Describe(id), " differs"));
  };
}

}  // namespace

int32_t GroupsOf(const TrainSpec& train) {
  const ConsistencyOptions options = ConsistencyOf(train, {});
  return options.replicas / options.group;
}

Version VersionAt(Clock clock, const TrainSpec& train) {
  return clock > kNever ? 0 : clock * GroupsOf(train);
}

absl::StatusOr<std::unique_ptr<ParameterStore>> MakeStore(
    const JobSpec& job, const ShardLayout& layout, int64_t steps_per_epoch,
    absl::Span<const ReplicaRange> units, absl::Span<const ShardId> held,
    absl::Span<const uint64_t> shard_digests, const VersionMemorySource& version_memory,
    const CheckpointHooks& checkpoints, const ReplicationHooks& replication) {
  if (!shard_digests.empty() && shard_digests.size() != layout.shards().size()) {
    return absl::InvalidArgumentError(absl::StrCat(shard_digests.size(), " digests of first values for ",
                                                   layout.shards().size(), " shards"));
  }
  ParameterStoreOptions options;
  options.seed = job.seed;
  options.consistency = ConsistencyOf(job.train, units);
  TESSERA_ASSIGN_OR_RETURN(options.correction, CorrectionOf(job.train.consistency));
  options.linear_lr_scaling = job.train.consistency.lr_scaling == "linear";
  TESSERA_ASSIGN_OR_RETURN(OptimizerPair optimizers,
                           CreateOptimizers(job.train.optimizer.name, job.train.optimizer.options));
  options.optimizer = std::move(optimizers.all);
  options.undecayed_optimizer = std::move(optimizers.undecayed);
  const auto per_epoch = static_cast<double>(steps_per_epoch);
  TESSERA_ASSIGN_OR_RETURN(options.schedule,
                           CreateSchedule(job.train.schedule.name, job.train.schedule.options,
                                          ScheduleContext{per_epoch * job.train.epochs, per_epoch}));
  if (checkpoints.restore) {
    options.restore = checkpoints.restore;
  } else {
    TESSERA_ASSIGN_OR_RETURN(options.initial, InitialOf(job, layout, shard_digests));
  }
  if (checkpoints.on_snapshot) {
    options.checkpoint_every = VersionAt(checkpoints.every, job.train);
    options.on_snapshot = checkpoints.on_snapshot;
  }
  options.forwards = replication.forwards;
  std::vector<ShardId> all(held.begin(), held.end());
  all.insert(all.end(), replication.expected.begin(), replication.expected.end());
  if (version_memory)
    options.version_memory = version_memory(ParameterStore::VersionBytes(options, layout, all));
  return ParameterStore::Create(std::move(options), layout, held);
}

}  // namespace tessera

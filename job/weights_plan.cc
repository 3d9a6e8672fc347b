#include "job/weights_plan.h"

#include "common/starting_weights.h"
#include "common/status.h"
#include "job/job_plan.h"

namespace tessera {
namespace {

absl::StatusOr<WeightsPlan> ReadWeights(const StartingWeights& weights, const ShardLayout& layout) {
  WeightsPlan plan{{}, weights.summary(), weights.warning()};
  std::vector<float> values;
  for (const Shard& shard : layout.shards()) {
    values.resize(static_cast<size_t>(shard.length));
    TESSERA_RETURN_IF_ERROR(weights.Fill(shard.id, absl::MakeSpan(values)));
    plan.shard_digests.push_back(ShardDigest(values));
  }
  return plan;
}

}  // namespace

absl::StatusOr<WeightsPlan> PlanWeights(const JobSpec& job, const ShardLayout& layout) {
  if (job.model.weights.empty()) return WeightsPlan{};
  const absl::StatusOr<StartingWeights> weights =
      StartingWeights::Create({job.model.weights, job.model.replace, job.seed}, layout);
  if (!weights.ok()) return AtPosition(job.model.where, weights.status());
  absl::StatusOr<WeightsPlan> plan = ReadWeights(*weights, layout);
  if (!plan.ok()) return AtPosition(job.model.where, plan.status());
  return plan;
}

}  // namespace tessera

#include "job/job_plan.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera {
namespace {

absl::StatusOr<std::shared_ptr<const Dataset>> OpenDataset(const NamedOptions& spec) {
  auto dataset = DatasetRegistry::Create("data format", spec.name, spec.options);
  if (!dataset.ok()) return AtPosition(spec.where, dataset.status());
  return std::shared_ptr<const Dataset>(*std::move(dataset));
}

absl::Status CheckData(const JobSpec& job, const JobData& data) {
  const Shape& image = data.train->image_shape();
  if (data.test != nullptr && data.test->image_shape() != image) {
    return AtPosition(job.data.test->where, absl::InvalidArgumentError(absl::StrCat(
                                                "test images are ", ToString(data.test->image_shape()),
                                                " but training images are ", ToString(image))));
  }
  const NormalizeSpec& normalize = job.data.normalize;
  if (normalize.measured) return absl::OkStatus();
  TESSERA_RETURN_IF_ERROR(
      Annotate(Normalization::Create(normalize.mean, normalize.std).status(), "data.normalize"));
  if (static_cast<int64_t>(normalize.mean.size()) != image.front()) {
    return absl::InvalidArgumentError(absl::StrCat("data.normalize is for ", normalize.mean.size(),
                                                   " channels, the images have ", image.front()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<nn::LayerSpec>> ListLayers(const ModelSpec& model, const Shape& image,
                                                      int64_t classes) {
  if (!model.name.empty()) {
    const auto network = nn::ZooRegistry::Create("model", model.name, model.options);
    if (!network.ok()) return AtPosition(model.where, network.status());
    return (*network)->Layers(image, classes);
  }
  std::vector<nn::LayerSpec> layers;
  for (const LayerOptions& layer : model.layers) {
    layers.push_back({layer.name, layer.type, layer.inputs, layer.options, layer.where});
  }
  return layers;
}

absl::StatusOr<nn::Graph> BuildGraph(const ModelSpec& model, const Shape& image, int64_t classes) {
  TESSERA_ASSIGN_OR_RETURN(std::vector<nn::LayerSpec> layers, ListLayers(model, image, classes));
  absl::StatusOr<nn::Graph> graph = nn::Graph::Create(std::move(layers), image, classes);
  if (!graph.ok()) return AtPosition(model.where, graph.status());
  return graph;
}

absl::StatusOr<Clock> StepsPerEpoch(const TrainSpec& train, int64_t samples) {
  const int64_t round = int64_t{train.replicas} * train.batch_size;
  if (round < 1 || samples < round) {
    return absl::InvalidArgumentError(
        absl::StrCat("an epoch has no step: ", samples, " training samples, but ", train.replicas,
                     " replicas with minibatches of ", train.batch_size, " need ", round, " for one"));
  }
  return samples / round;
}

}  // namespace

absl::StatusOr<Normalization> MakeNormalization(const NormalizeSpec& spec, const Dataset& train) {
  if (spec.measured) return Normalization::Measure(train);
  return Normalization::Create(spec.mean, spec.std);
}

absl::Status AtPosition(const std::string& where, const absl::Status& status) {
  const absl::string_view file = absl::string_view(where).substr(0, where.find(':'));
  const bool has_position = absl::StartsWith(status.message(), absl::StrCat(file, ":")) ||
                            absl::StartsWith(status.message(), "--set ");
  return where.empty() || has_position ? status : Annotate(status, where);
}

absl::StatusOr<JobData> OpenJobData(const DataSpec& spec) {
  JobData data;
  TESSERA_ASSIGN_OR_RETURN(data.train, OpenDataset(spec.train));
  if (spec.test.has_value()) {
    TESSERA_ASSIGN_OR_RETURN(data.test, OpenDataset(*spec.test));
  }
  return data;
}

absl::StatusOr<JobPlan> MakeJobPlan(const JobSpec& job, const JobData& data) {
  TESSERA_RETURN_IF_ERROR(CheckData(job, data));
  const int64_t train_samples = data.train->size();
  const int64_t test_samples = data.test == nullptr ? 0 : data.test->size();
  const int64_t classes = std::max(data.train->classes(), data.test == nullptr ? 0 : data.test->classes());
  TESSERA_ASSIGN_OR_RETURN(nn::Graph graph, BuildGraph(job.model, data.train->image_shape(), classes));
  TESSERA_ASSIGN_OR_RETURN(const Clock steps_per_epoch, StepsPerEpoch(job.train, train_samples));
  const Clock total_steps = steps_per_epoch * job.train.epochs;
  TESSERA_ASSIGN_OR_RETURN(ShardLayout layout, ShardLayout::Create(graph.blocks(), job.cluster.shard_bytes));
  return JobPlan{.job = job,
                 .graph = std::make_shared<const nn::Graph>(std::move(graph)),
                 .layout = std::move(layout),
                 .train_samples = train_samples,
                 .test_samples = test_samples,
                 .steps_per_epoch = steps_per_epoch,
                 .total_steps = total_steps};
}

absl::StatusOr<JobPlan> MakeJobPlan(const JobSpec& job) {
  TESSERA_ASSIGN_OR_RETURN(const JobData data, OpenJobData(job.data));
  return MakeJobPlan(job, data);
}

}  // namespace tessera

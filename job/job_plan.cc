#include "job/job_plan.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status.h"

namespace tessera {
namespace {

absl::StatusOr<std::shared_ptr<const Dataset>> OpenDataset(const NamedOptions& spec) {
  auto dataset = DatasetRegistry::Create("data format", spec.name, spec.options);
  if (!dataset.ok()) return AtPosition(spec.where, dataset.status());
  return std::shared_ptr<const Dataset>(*std::move(dataset));
}

// "image [1,28,28]", or "spectrum [144], height [21,7,7]".
std::string InputText(const std::vector<nn::InputSpec>& inputs) {
  std::vector<std::string> texts;
  for (const nn::InputSpec& input : inputs)
    texts.push_back(absl::StrCat(input.name, " ", ToString(input.shape)));
  return absl::StrJoin(texts, ", ");
}

bool IsImages(const std::vector<nn::InputSpec>& inputs) {
  return inputs.size() == 1 && inputs[0].name == nn::kImageName;
}

// Of samples that are to be alike.
absl::Status CheckTest(const Dataset& train, const Dataset& test) {
  if (test.inputs() != train.inputs()) {
    return absl::InvalidArgumentError(
        IsImages(test.inputs()) && IsImages(train.inputs())
            ? absl::StrCat("test images are ", ToString(test.inputs()[0].shape), " but training images are ",
                           ToString(train.inputs()[0].shape))
            : absl::StrCat("test samples have ", InputText(test.inputs()), " but training samples have ",
                           InputText(train.inputs())));
  }
  const std::vector<std::string> names = test.class_names(), train_names = train.class_names();
  if (!names.empty() && !train_names.empty() && names != train_names) {
    return absl::InvalidArgumentError(absl::StrCat("the classes to test are ", absl::StrJoin(names, ", "),
                                                   " but those to train are ",
                                                   absl::StrJoin(train_names, ", ")));
  }
  return test.CheckBeside(train);
}

absl::Status CheckNormalize(const NormalizeSpec& normalize, const Dataset& train) {
  if (normalize.measured) return absl::OkStatus();
  TESSERA_RETURN_IF_ERROR(
      Annotate(Normalization::Create(normalize.mean, normalize.std).status(), "data.normalize"));
  const std::vector<nn::InputSpec>& inputs = train.inputs();
  if (inputs.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("data.normalize is `measured` where samples have several inputs: ", InputText(inputs)));
  }
  if (static_cast<int64_t>(normalize.mean.size()) == inputs[0].shape.front()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("data.normalize is for ", normalize.mean.size(), " channels, ",
                   IsImages(inputs) ? "the images have " : "a sample has ", inputs[0].shape.front()));
}

absl::Status CheckAugment(const AugmentSpec& augment, const Dataset& train) {
  if (!augment.flip && augment.crop_padding == 0) return absl::OkStatus();
  bool has_image = false;
  for (const nn::InputSpec& input : train.inputs()) {
    if (input.shape.size() != 3) continue;
    has_image = true;
    if (augment.crop_padding < std::min(input.shape[1], input.shape[2])) continue;
    return absl::InvalidArgumentError(absl::StrCat("data.augment crops by ", augment.crop_padding,
                                                   " pixels may leave nothing of ", input.name, " ",
                                                   ToString(input.shape)));
  }
  if (has_image) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("data.augment has no image [C,H,W] to change: samples have ", InputText(train.inputs())));
}

absl::Status CheckData(const JobSpec& job, const JobData& data) {
  if (data.test != nullptr) {
    TESSERA_RETURN_IF_ERROR(AtPosition(job.data.test->where, CheckTest(*data.train, *data.test)));
  }
  TESSERA_RETURN_IF_ERROR(CheckNormalize(job.data.normalize, *data.train));
  return CheckAugment(job.data.augment, *data.train);
}

// A network of the zoo takes images, under their one name.
absl::Status CheckZooInputs(const std::string& model, const std::vector<nn::InputSpec>& inputs) {
  if (IsImages(inputs)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("network `", model, "` takes one input, `", nn::kImageName, "` [C,H,W], but samples have ",
                   InputText(inputs), "; write its layers down in `model.layers`, which name their inputs"));
}

// The layers of a network of the zoo. `label_smoothing` is an option of each, since the loss is behind all of them.
absl::StatusOr<std::vector<nn::LayerSpec>> ListZooLayers(const ModelSpec& model,
                                                         const std::vector<nn::InputSpec>& inputs,
                                                         int64_t classes) {
  Options of_network;
  nn::LayerSpec loss{.kind = "softmax_cross_entropy", .where = model.where};
  for (const auto& [name, value] : model.options.values()) {
    (name == "label_smoothing" ? loss.options : of_network).Set(name, value);
  }
  const auto network = nn::ZooRegistry::Create("model", model.name, of_network);
  if (!network.ok()) return AtPosition(model.where, network.status());
  TESSERA_RETURN_IF_ERROR(AtPosition(model.where, CheckZooInputs(model.name, inputs)));
  std::vector<nn::LayerSpec> layers = (*network)->Layers(inputs[0].shape, classes);
  layers.push_back(std::move(loss));
  return layers;
}

absl::StatusOr<std::vector<nn::LayerSpec>> ListLayers(const ModelSpec& model,
                                                      const std::vector<nn::InputSpec>& inputs,
                                                      int64_t classes) {
  if (!model.name.empty()) return ListZooLayers(model, inputs, classes);
  std::vector<nn::LayerSpec> layers;
  for (const LayerOptions& layer : model.layers) {
    layers.push_back({layer.name, layer.type, layer.inputs, layer.options, layer.where});
  }
  return layers;
}

absl::StatusOr<nn::Graph> BuildGraph(const ModelSpec& model, const std::vector<nn::InputSpec>& inputs,
                                     int64_t classes) {
  TESSERA_ASSIGN_OR_RETURN(std::vector<nn::LayerSpec> layers, ListLayers(model, inputs, classes));
  absl::StatusOr<nn::Graph> graph = nn::Graph::Create(std::move(layers), inputs, classes);
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

std::optional<Augmentation> MakeAugmentation(const JobSpec& job) {
  const AugmentSpec& augment = job.data.augment;
  if (!augment.flip && augment.crop_padding == 0) return std::nullopt;
  return Augmentation(job.seed, {.flip = augment.flip, .crop_padding = augment.crop_padding});
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
  TESSERA_ASSIGN_OR_RETURN(nn::Graph graph, BuildGraph(job.model, data.train->inputs(), classes));
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
  TESSERA_ASSIGN_OR_RETURN(JobPlan plan, MakeJobPlan(job, data));
  TESSERA_ASSIGN_OR_RETURN(plan.weights, PlanWeights(job, plan.layout));
  return plan;
}

}  // namespace tessera

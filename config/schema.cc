#include "config/schema.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "config/checkpoint_interval.h"
#include "config/field_types.h"
#include "config/layers_field.h"
#include "config/normalize_field.h"

namespace tessera {
namespace {

constexpr int32_t kMaxNodes = 4096;
constexpr int64_t kMaxStaleness = int64_t{1} << 30;
constexpr char kUnbounded[] = "unbounded";

// The name becomes a folder, so that it can be neither `..` nor a path.
absl::Status CheckJobName(const std::string& name) {
  constexpr size_t kMaxBytes = 100;
  const bool is_valid = std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  });
  if (is_valid && name.size() <= kMaxBytes && absl::ascii_isalnum(name[0])) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "a name has letters, digits, `.`, `_` and `-`, starts with a letter or digit and has at most ",
      kMaxBytes, " of them, unlike `", Clip(name), "`"));
}

absl::Status CheckAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  const std::string host = address.substr(0, colon);
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  const bool is_bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const bool is_host = !host.empty() && host.find_first_of(" /`\"") == std::string::npos &&
                       (is_bracketed || host.find_first_of(":[]") == std::string::npos);
  const bool is_number = !port.empty() && std::all_of(port.begin(), port.end(), absl::ascii_isdigit);
  int32_t number = 0;
  if (is_host && is_number && absl::SimpleAtoi(port, &number) && number <= 65535) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("an address is HOST:PORT with a port from 0 to 65535, unlike `", Clip(address), "`"));
}

// data.test may be absent: made when a job file has it.
struct TestData {
  NamedOptions* operator()(JobSpec& job) const {
    if (!job.data.test.has_value()) job.data.test.emplace();
    return &*job.data.test;
  }
  const NamedOptions* operator()(const JobSpec& job) const {
    return job.data.test.has_value() ? &*job.data.test : nullptr;
  }
};

auto TrainData() {
  return [](auto& job) { return &job.data.train; };
}
auto Optimizer() {
  return [](auto& job) { return &job.train.optimizer; };
}
auto Schedule() {
  return [](auto& job) { return &job.train.schedule; };
}

// Lets `section` take keys of its own. `find` gives a pointer to what has `options`, see Name().
template <typename Find>
Section FreeForm(Section section, Find find, std::string options_text) {
  section.options_text = std::move(options_text);
  section.options = [=](JobSpec& job) { return &find(job)->options; };
  section.options_of = [=](const JobSpec& job) -> const Options* {
    const auto* owner = find(job);
    return owner == nullptr ? nullptr : &owner->options;
  };
  return section;
}

Field ModelName() {
  Field field{.path = "model.name",
              .type = "name",
              .text = "A network of the zoo, as `lenet5`, `resnet18`, `vgg16`. Short form: `model: lenet5`."};
  field.read = [](const YamlNode& value, JobSpec& job) {
    job.model.where = value.where;
    TESSERA_ASSIGN_OR_RETURN(job.model.name, ReadText("model.name", value));
    return absl::OkStatus();
  };
  field.write = [](const JobSpec& job) {
    return job.model.name.empty() ? YamlNode() : YamlNode::Scalar(job.model.name);
  };
  return field;
}

Field ModelWeights() {
  Field field{
      .path = "model.weights",
      .type = "path",
      .text = "A safetensors file, by PyTorch's names, that the weights start from instead of random ones."};
  field.read = [](const YamlNode& value, JobSpec& job) {
    TESSERA_ASSIGN_OR_RETURN(job.model.weights, ReadText("model.weights", value));
    return absl::OkStatus();
  };
  field.write = [](const JobSpec& job) {
    return job.model.weights.empty() ? YamlNode() : YamlNode::Scalar(job.model.weights);
  };
  return field;
}

Field ModelReplace() {
  Field field{.path = "model.replace",
              .type = "list of names",
              .text =
                  "Layers, each with all below its name, that start afresh all the same: `[fc]`, to tune a "
                  "network to other classes."};
  field.read = [](const YamlNode& value, JobSpec& job) {
    TESSERA_ASSIGN_OR_RETURN(job.model.replace, ReadTexts("model.replace", "the names of layers", value));
    return absl::OkStatus();
  };
  field.write = [](const JobSpec& job) {
    return job.model.replace.empty() ? YamlNode() : YamlNode::List(job.model.replace);
  };
  return field;
}

Field Replicas() {
  Field field =
      Integer("train.replicas", In(&JobSpec::train, &TrainSpec::replicas), 1, kMaxNodes,
              "Model replicas, each with a minibatch of its own in every step. The workers share them out, "
              "so that the result does not depend on how many workers there are.");
  field.default_text = "`cluster.workers` as the file has it";
  return field;
}

Field ClipNorm() {
  Field field = Number(
      "train.clip_norm", In(&JobSpec::train, &TrainSpec::clip_norm), 0, 1e6,
      "A replica's gradient over all weights that is longer than this is scaled down to it; 0: never. "
      "Stale gradients make momentum diverge without it; it holds pushes back until a backward is over.");
  field.default_text = "by mode: `sync` 0, the others 1";
  return field;
}

Field Deterministic() {
  Field field = Bool(
      "train.deterministic", In(&JobSpec::train, &TrainSpec::deterministic),
      "`true` (`sync` without `drop_stragglers` alone) refuses workers whose processors, libraries or "
      "threads differ, since these may change the last bit of the weights; `false` lets them in, and the "
      "weights may then differ in their last bits.");
  field.default_text = "`true` where it can be";
  return field;
}

template <typename Member>
auto Consistency(Member member) {
  return [=](auto& job) -> auto& { return job.train.consistency.*member; };
}

Field Mode() {
  Field field =
      Choice("train.consistency.mode", Consistency(&ConsistencySpec::mode),
             {.built = {"sync", "async", "ssp", "grouped", "mixed"}},
             "`sync`: every step is one update, by the mean over all replicas. `async`: every "
             "replica updates by itself and waits for nobody. `ssp`: as `async`, but none runs more "
             "than `staleness` minibatches ahead. `grouped` (or `mixed`): in step inside a group, as "
             "`async` between groups.");
  field.read = [read = field.read](const YamlNode& value, JobSpec& job) -> absl::Status {
    TESSERA_RETURN_IF_ERROR(read(value, job));
    std::string& mode = job.train.consistency.mode;
    if (mode == "mixed") mode = "grouped";
    return absl::OkStatus();
  };
  return field;
}

Field Group() {
  Field field = Integer("train.consistency.group", Consistency(&ConsistencySpec::group), 1, kMaxNodes,
                        "Replicas whose gradients make one update; divides `train.replicas`.");
  field.default_text = "by mode: `sync` all, `async` and `ssp` 1; `grouped`: required";
  field.write = [](const JobSpec& job) {
    const int32_t group = job.train.consistency.group;
    return group == 0 ? YamlNode() : YamlNode::Scalar(absl::StrCat(group));
  };
  return field;
}

Field Staleness() {
  constexpr char kPath[] = "train.consistency.staleness";
  Field field{
      .path = kPath,
      .type = "whole number or `unbounded`",
      .range = absl::StrCat("from 0 to ", kMaxStaleness),
      .text = "Minibatches that a replica may run ahead of the slowest group. For `ssp` and `grouped`.",
      .default_text = "by mode: `sync` 0, `ssp` 3, `async` and `grouped` `unbounded`"};
  field.read = [=](const YamlNode& value, JobSpec& job) -> absl::Status {
    int64_t& staleness = job.train.consistency.staleness;
    if (value.is_scalar() && value.text == kUnbounded) {
      staleness = ConsistencySpec::kUnbounded;
      return absl::OkStatus();
    }
    if (!IsWholeNumber(value)) return TypeError(kPath, "a whole number or `unbounded`", value);
    TESSERA_ASSIGN_OR_RETURN(staleness, ReadInteger<int64_t>(kPath, 0, kMaxStaleness, value));
    return absl::OkStatus();
  };
  field.write = [](const JobSpec& job) {
    const int64_t staleness = job.train.consistency.staleness;
    return YamlNode::Scalar(staleness == ConsistencySpec::kUnbounded ? kUnbounded : absl::StrCat(staleness));
  };
  return field;
}

// Written only where it has a meaning.
Field OfDelayCompensation(Field field) {
  field.default_text = absl::StrCat("`", field.write(JobSpec()).text, "`");
  field.write = [write = field.write](const JobSpec& job) {
    return job.train.consistency.staleness_correction == "delay_compensated" ? write(job) : YamlNode();
  };
  return field;
}

Field CheckpointDir() {
  constexpr char kPath[] = "checkpoint.dir";
  Field field{.path = kPath,
              .type = "path",
              .text = "Where checkpoints go; every server must see the same folder there.",
              .default_text = "`checkpoints` in the run's folder"};
  field.read = [=](const YamlNode& value, JobSpec& job) {
    TESSERA_ASSIGN_OR_RETURN(job.checkpoint.dir, ReadText(kPath, value));
    return absl::OkStatus();
  };
  field.write = [](const JobSpec& job) {
    return job.checkpoint.dir.empty() ? YamlNode() : YamlNode::Scalar(job.checkpoint.dir);
  };
  return field;
}

Field CheckpointEvery() {
  Field field{.path = "checkpoint.every",
              .type = "epochs, steps, time or `never`",
              .range = CheckpointIntervalRange(),
              .text =
                  "How often the whole run is saved, so that it can go on from there: `1 epoch`, `200 "
                  "steps`, `30s` or `never`."};
  field.read = [](const YamlNode& value, JobSpec& job) {
    return ReadCheckpointInterval("checkpoint.every", value, job.checkpoint);
  };
  field.write = [](const JobSpec& job) { return YamlNode::Scalar(FormatCheckpointInterval(job.checkpoint)); };
  return field;
}

std::vector<Section> Sections() {
  const char* const kFormatOptions =
      "what the format reads; `idx`: `path` (folder), `split` (`train` or `test`); `image_folder`: also "
      "`channels`, "
      "`size`; `npy`: `inputs`, `labels`, `split`, `part`, `split_seed`";
  return {
      {.path = "", .text = "The file itself."},
      {.path = "job", .text = "What the run is called.", .required = true},
      FreeForm(
          {.path = "model",
           .text = "The network, by `name` or by `layers`.",
           .required = true,
           .short_form = "name"},
          [](auto& job) { return &job.model; }, "options of the zoo's network"),
      {.path = "data", .text = "The images.", .required = true},
      FreeForm({.path = "data.train", .text = "The training images.", .required = true}, TrainData(),
               kFormatOptions),
      FreeForm({.path = "data.test",
                .text = "The images that every epoch ends with an evaluation on; may be absent."},
               TestData(), kFormatOptions),
      {.path = "data.augment",
       .text = "Random changes of the training images, anew in every epoch and the same on any worker."},
      {.path = "train", .text = "How the network learns.", .required = true},
      FreeForm({.path = "train.optimizer", .text = "The rule that changes the weights.", .required = true},
               Optimizer(), "what the optimizer reads: `lr`, `weight_decay`, ..."),
      FreeForm({.path = "train.schedule", .text = "How the learning rate changes over the run."}, Schedule(),
               "`warmup`: a linear rise over the first `100 steps` or `1 epoch`; what the schedule reads"),
      {.path = "train.consistency", .text = "Who waits for whom."},
      {.path = "cluster", .text = "The processes."},
      {.path = "checkpoint", .text = "Where and how often the run is saved."},
      {.path = "device", .text = "What every worker computes on.", .short_form = "kind"},
  };
}

std::vector<Field> Fields() {
  return {
      Required(Text(
          "job.name", [](auto& job) -> auto& { return job.name; }, "name", CheckJobName,
          "Names the run's folder `runs/<name>`: letters, digits, `.`, `_`, `-`.")),
      Integer(
          "job.seed", [](auto& job) -> auto& { return job.seed; }, 0, std::numeric_limits<uint64_t>::max(),
          "Decides the initial weights and the order of the images: the same seed, the same bits."),

      ModelName(),
      LayersField(),
      ModelWeights(),
      ModelReplace(),

      Required(Name("data.train.format", TrainData(),
                    "How the samples are stored: `idx`, `image_folder`, `npy`.")),
      Required(Name("data.test.format", TestData(), "As for `data.train`.")),
      NormalizeField(),
      Bool(
          "data.augment.flip", [](auto& job) -> auto& { return job.data.augment.flip; },
          "Turns every second training image around, left to right, by chance."),
      Integer(
          "data.augment.crop_padding", [](auto& job) -> auto& { return job.data.augment.crop_padding; }, 0,
          1024, "Shifts every training image by up to so many pixels, by chance, and fills up with zeros."),

      Replicas(),
      Integer("train.batch_size", In(&JobSpec::train, &TrainSpec::batch_size), 1, 65536,
              "Images of one minibatch of one replica."),
      Integer("train.epochs", In(&JobSpec::train, &TrainSpec::epochs), 1, 100000,
              "How often the training images are gone through."),
      ClipNorm(),
      Deterministic(),
      Required(Name("train.optimizer.name", Optimizer(),
                    "`sgd`, `momentum`, `nesterov`, `adagrad`, `rmsprop`, `adam` or `adamw`.")),
      Name("train.schedule.name", Schedule(),
           "`constant`, `cosine` (down to 0 at the end), `step`, `multistep` or `polynomial`."),
      Mode(),
      Group(),
      Staleness(),
      Integer("train.consistency.drop_stragglers", Consistency(&ConsistencySpec::drop_stragglers), 0,
              kMaxNodes - 1,
              "`sync`: a step does not wait for its last so many replicas. A worker's replicas are dropped "
              "together, so that it takes at least as many as a worker runs."),
      Choice(
          "train.consistency.staleness_correction", Consistency(&ConsistencySpec::staleness_correction),
          {.built = {"none", "scale", "delay_compensated"}},
          "What is done to a gradient of older weights: `scale`: divided by 1 + its staleness, in place of "
          "`lr_scaling`; `delay_compensated`: DC-ASGD, in groups of 1. Not in `sync`."),
      OfDelayCompensation(Number("train.consistency.dc_lambda", Consistency(&ConsistencySpec::dc_lambda), 0,
                                 1e6, "`delay_compensated`: how strong the compensation is.")),
      OfDelayCompensation(
          Bool("train.consistency.dc_adaptive", Consistency(&ConsistencySpec::dc_adaptive),
               "`delay_compensated`: `dc_lambda` over the root of the gradient's running mean square.")),
      Choice("train.consistency.lr_scaling", Consistency(&ConsistencySpec::lr_scaling),
             {.built = {"linear", "none"}},
             "`linear`: an update of a group takes `lr` x group / replicas; `none`: `lr` as it is."),

      Text("cluster.coordinator", In(&JobSpec::cluster, &ClusterSpec::coordinator), "HOST:PORT", CheckAddress,
           "Where the coordinator listens; port 0 takes a free one."),
      Integer("cluster.servers", In(&JobSpec::cluster, &ClusterSpec::servers), 1, kMaxNodes,
              "Server processes, which share the weights. The job begins with so many, and goes back to a "
              "checkpoint with so many if they come within a lease; more may join and leave at any time."),
      Integer("cluster.workers", In(&JobSpec::cluster, &ClusterSpec::workers), 1, kMaxNodes,
              "Worker processes, which share the replicas."),
      Bytes("cluster.shard_bytes", In(&JobSpec::cluster, &ClusterSpec::shard_bytes), 64, int64_t{16} << 20,
            "The largest piece of a layer that is stored and sent as one."),
      Duration("cluster.lease", In(&JobSpec::cluster, &ClusterSpec::lease), absl::Milliseconds(100),
               absl::Minutes(10), "A process that is silent for so long is declared dead."),
      Bool("cluster.shared_memory", In(&JobSpec::cluster, &ClusterSpec::shared_memory),
           "Tensors go through shared memory between processes of one machine and user, which find that out "
           "by themselves; all others, and with `false` everybody, use TCP."),
      Integer("cluster.server_backups", In(&JobSpec::cluster, &ClusterSpec::server_backups), 0, 8,
              "Other servers that hold each shard too. So many may die, and training goes on where it was; "
              "with 0 a dead server sends it back to the newest checkpoint. Less than `servers`; not with "
              "`dc_adaptive`."),

      CheckpointDir(),
      CheckpointEvery(),
      Integer("checkpoint.keep", In(&JobSpec::checkpoint, &CheckpointSpec::keep), 1, 1'000'000,
              "Checkpoints that stay; of older ones only the newest that is whole."),

      Choice("device.kind", In(&JobSpec::device, &DeviceSpec::kind),
             {.built = {"cpu", "reference"}, .not_built = {"cuda", "auto"}},
             "`cpu`: fast, by oneDNN; `reference`: slow and plain, to check against. "
             "Short form: `device: cpu`."),
      Integer("device.threads", In(&JobSpec::device, &DeviceSpec::threads), 1, 1024,
              "Threads of one worker; `reference` has one."),
  };
}

}  // namespace

Schema::Schema(std::vector<Section> sections, std::vector<Field> fields)
    : sections_(std::move(sections)), fields_(std::move(fields)) {}

const Schema& Schema::Job() {
  static const auto* const schema = new Schema(Sections(), Fields());
  return *schema;
}

const Section* Schema::FindSection(absl::string_view path) const {
  const auto found = std::find_if(sections_.begin(), sections_.end(),
                                  [&](const Section& section) { return section.path == path; });
  return found == sections_.end() ? nullptr : &*found;
}

const Field* Schema::FindField(absl::string_view path) const {
  const auto found =
      std::find_if(fields_.begin(), fields_.end(), [&](const Field& field) { return field.path == path; });
  return found == fields_.end() ? nullptr : &*found;
}

std::vector<std::string> Schema::Keys(const Section& section) const {
  std::vector<std::string> keys;
  for (const Field& field : fields_) {
    if (SectionOf(field.path) == section.path) keys.emplace_back(KeyOf(field.path));
  }
  for (const Section& inner : sections_) {
    if (!inner.path.empty() && SectionOf(inner.path) == section.path) keys.emplace_back(KeyOf(inner.path));
  }
  return keys;
}

std::string Schema::Join(absl::string_view section, absl::string_view key) {
  return section.empty() ? std::string(key) : absl::StrCat(section, ".", key);
}

absl::string_view Schema::SectionOf(absl::string_view path) {
  const size_t dot = path.rfind('.');
  return dot == absl::string_view::npos ? absl::string_view() : path.substr(0, dot);
}

absl::string_view Schema::KeyOf(absl::string_view path) {
  const size_t dot = path.rfind('.');
  return dot == absl::string_view::npos ? path : path.substr(dot + 1);
}

}  // namespace tessera

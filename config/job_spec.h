// A job, typed: what config/job_loader.h reads from YAML and everything else works from. Plain data.
// The defaults stand here; the ranges and the manual's text of each field in config/schema.cc. Each once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/options.h"

namespace tessera {

// `name: momentum` with the options that its file reads: { name: momentum, lr: 0.05, momentum: 0.9 }.
struct NamedOptions {
  std::string name;
  Options options;    // all but the name
  std::string where;  // position of the name in the file
};

// One entry of `model: { layers: [...] }`.
struct LayerOptions {
  std::string name;
  std::string type;
  std::vector<std::string> inputs;
  Options options;
  std::string where;
};

struct ModelSpec {
  std::string name;  // a zoo network, or "" with `layers`
  Options options;   // of the zoo network
  std::vector<LayerOptions> layers;
  std::string weights;               // a safetensors file to start from, or ""
  std::vector<std::string> replace;  // layers (and all below their names) that start afresh all the same
  std::string where;
};

struct NormalizeSpec {
  bool measured = true;           // mean and std measured over the training set
  std::vector<double> mean, std;  // given: one per channel
};

// Random changes of the training images; none by default.
struct AugmentSpec {
  bool flip = false;
  int32_t crop_padding = 0;  // pixels; 0: no crop
};

struct DataSpec {
  NamedOptions train;  // name = format
  std::optional<NamedOptions> test;
  NormalizeSpec normalize;
  AugmentSpec augment;
};

// Who waits for whom; DESIGN.md section 4. `group` and `staleness` are always set after loading: the mode's
// own where the file has none.
struct ConsistencySpec {
  static constexpr int64_t kUnbounded = -1;

  std::string mode = "sync";  // sync, async, ssp, grouped (the file may say mixed)
  int32_t group = 0;          // replicas whose gradients make one update; divides train.replicas
  int64_t staleness = 0;      // minibatches ahead of the slowest group, or kUnbounded
  int32_t drop_stragglers = 0;
  std::string staleness_correction = "none";  // none, scale, delay_compensated
  double dc_lambda = 0.04;                    // of delay_compensated
  bool dc_adaptive = false;                   // lambda over the root of the gradient's mean square
  std::string lr_scaling = "linear";          // linear, none
};

struct TrainSpec {
  int32_t replicas = 0;     // always set after loading (default: the file's cluster.workers)
  int32_t batch_size = 64;  // per replica
  int32_t epochs = 1;
  NamedOptions optimizer;
  NamedOptions schedule{.name = "constant"};  // `warmup` stays in its options
  double clip_norm = 0;  // of one replica's gradient, over all its weights; 0: no clipping
  ConsistencySpec consistency;
  bool deterministic = true;  // as the file says it, or: sync without drop_stragglers
};

struct ClusterSpec {
  std::string coordinator = "127.0.0.1:7070";
  int32_t servers = 1;
  int32_t workers = 1;
  int64_t shard_bytes = 512 * 1024;
  absl::Duration lease = absl::Seconds(3);
  bool shared_memory = true;
  int32_t server_backups = 0;  // of each shard, on other servers; less than servers
};

// Where and how often the run is saved.
struct CheckpointSpec {
  enum class Unit { kNever, kEpochs, kSteps, kTime };

  std::string dir;  // "": `checkpoints` in the run's folder
  Unit unit = Unit::kEpochs;
  int64_t count = 1;    // of epochs or steps between two
  absl::Duration time;  // between two, with kTime
  int32_t keep = 3;     // checkpoints
};

struct DeviceSpec {
  std::string kind = "cpu";  // cpu, reference; cuda and auto are known words, refused until built
  int32_t threads = 1;
};

struct JobSpec {
  std::string name;
  uint64_t seed = 1;
  ModelSpec model;
  DataSpec data;
  TrainSpec train;
  ClusterSpec cluster;
  CheckpointSpec checkpoint;
  DeviceSpec device;
};

}  // namespace tessera

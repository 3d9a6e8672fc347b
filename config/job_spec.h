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
  std::string where;
};

struct NormalizeSpec {
  bool measured = true;           // mean and std measured over the training set
  std::vector<double> mean, std;  // given: one per channel
};

struct DataSpec {
  NamedOptions train;  // name = format
  std::optional<NamedOptions> test;
  NormalizeSpec normalize;
};

struct ConsistencySpec {
  std::string mode = "sync";  // sync now; async, ssp, grouped are known words, refused by name until built
};

struct TrainSpec {
  int32_t replicas = 0;     // always set after loading (default: the file's cluster.workers)
  int32_t batch_size = 64;  // per replica
  int32_t epochs = 1;
  NamedOptions optimizer;
  NamedOptions schedule{.name = "constant"};  // `warmup` stays in its options
  ConsistencySpec consistency;
  bool deterministic = true;
};

struct ClusterSpec {
  std::string coordinator = "127.0.0.1:7070";
  int32_t servers = 1;
  int32_t workers = 1;
  int64_t shard_bytes = 512 * 1024;
  absl::Duration lease = absl::Seconds(3);
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
  DeviceSpec device;
};

}  // namespace tessera

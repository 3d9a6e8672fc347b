// Resident memory of a server's store over that of an empty process: vgg16 (138 357 544 parameters) on one
// server, at the worst moments of each mode, beside what server/parameter_store.h says they are. The daemon
// adds gRPC and, for each connection, what the credit lets be on its way.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/parameter_store.h"

namespace tessera {
namespace {

constexpr double kMiB = 1 << 20;

struct Setting {
  std::string mode = "sync";
  std::string optimizer = "momentum";
  int32_t replicas = 2;
  int32_t rounds = 3;
};

ParameterBlock Layer(const std::string& name, Shape weight) {
  const Initializer uniform{Initializer::Kind::kUniform, 0.01F};
  const Shape bias = {weight[0]};
  return {name,
          ParameterKind::kWeight,
          {{name + ".weight", std::move(weight), ParameterKind::kWeight, uniform},
           {name + ".bias", bias, ParameterKind::kWeight, {}}}};
}

// Configuration D of Simonyan & Zisserman 2015.
std::vector<ParameterBlock> Vgg16() {
  std::vector<ParameterBlock> blocks;
  int64_t in = 3;
  for (const int64_t out : {64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512}) {
    blocks.push_back(Layer(absl::StrCat("conv", blocks.size()), {out, in, 3, 3}));
    in = out;
  }
  in = 512 * 7 * 7;
  for (const int64_t out : {4096, 4096, 1000}) {
    blocks.push_back(Layer(absl::StrCat("fc", blocks.size()), {out, in}));
    in = out;
  }
  return blocks;
}

absl::StatusOr<ParameterStoreOptions> StoreOptions(const Setting& setting) {
  ParameterStoreOptions options;
  options.consistency.replicas = setting.replicas;
  options.consistency.group = setting.mode == "sync" ? setting.replicas : 1;
  options.consistency.staleness = ConsistencyOptions::kUnbounded;
  if (setting.mode == "delay_compensated") {
    options.correction.kind = StalenessCorrection::Kind::kDelayCompensated;
  }
  auto optimizer = OptimizerRegistry::Create("optimizer", setting.optimizer, {{"lr", "0.01"}});
  if (!optimizer.ok()) return optimizer.status();
  options.optimizer = *std::move(optimizer);
  options.schedule = CreateSchedule("constant", {}, {}).value();
  return options;
}

// A field of /proc/self/status, "VmRSS:" or "VmHWM:", in MiB.
double Status(const std::string& field) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    double kib = 0;
    if (words.size() == 3 && words[0] == field && absl::SimpleAtod(words[1], &kib)) return kib / 1024;
  }
  return 0;
}

// Replicas in turn push all their shards, so that in sync every shard waits half way through the round, and
// hold the weights they are answered with until their next push, as slow readers do.
class Replicas {
 public:
  Replicas(ParameterStore* store, int32_t count) : store_(store), held_(count) {}

  void PushRound(Clock clock) {
    for (ReplicaId replica = 0; replica < static_cast<ReplicaId>(held_.size()); ++replica) {
      std::vector<ShardVersion> computed_on = std::move(held_[replica]);
      for (const Shard& shard : store_->layout().shards()) Push(shard, replica, clock, computed_on);
      computed_on.clear();
      for (const Shard& shard : store_->layout().shards()) Read(shard.id, replica, clock + 1);
    }
  }

  void ReadFirst() {
    for (ReplicaId replica = 0; replica < static_cast<ReplicaId>(held_.size()); ++replica) {
      for (const Shard& shard : store_->layout().shards()) Read(shard.id, replica, 0);
    }
  }

 private:
  void Push(const Shard& shard, ReplicaId replica, Clock clock, const std::vector<ShardVersion>& read) {
    const auto gradient = std::make_shared<TensorBuffer>(static_cast<size_t>(shard.length));
    for (float& value : gradient->span()) value = 1e-3F;
    const PushHeader header{shard.id, {replica, replica}, clock, read[static_cast<size_t>(shard.id)].version};
    if (const auto pushed = store_->Push(header, TensorBytes(gradient)); !pushed.ok()) {
      std::fprintf(stderr, "%s\n", pushed.status().ToString().c_str());
    }
  }

  void Read(ShardId shard, ReplicaId replica, Clock clock) {
    held_[replica].resize(store_->layout().shards().size());
    store_->Read(shard, replica, clock, [this, shard, replica](absl::StatusOr<ShardVersion> read) {
      if (read.ok()) held_[replica][static_cast<size_t>(shard)] = *std::move(read);
    });
  }

  ParameterStore* const store_;
  std::vector<std::vector<ShardVersion>> held_;  // by replica and shard
};

// What server/parameter_store.h says of the worst moment.
double WorstCase(const Setting& setting, double weights, double slots) {
  if (setting.mode == "sync") return 2 * weights + slots + (setting.replicas + 1) / 2 * weights;
  return weights + slots + setting.replicas * weights;
}

int Measure(const Setting& setting) {
  const double empty = Status("VmRSS:");
  absl::StatusOr<ParameterStoreOptions> options = StoreOptions(setting);
  if (!options.ok()) {
    std::fprintf(stderr, "%s\n", options.status().ToString().c_str());
    return 2;
  }
  const double slots_each = static_cast<double>(options->optimizer->slots().size());
  const ShardLayout layout = ShardLayout::Create(Vgg16(), 512 * 1024).value();
  std::vector<ShardId> held;
  for (const Shard& shard : layout.shards()) held.push_back(shard.id);
  const auto store = ParameterStore::Create(*std::move(options), layout, held).value();
  const double weights = static_cast<double>(layout.total_bytes()) / kMiB;
  std::printf("%s, %s, %d replicas: weights %.0f MiB, slots %.0f MiB, %zu shards\n", setting.mode.c_str(),
              setting.optimizer.c_str(), setting.replicas, weights, slots_each * weights, held.size());
  std::printf("  at the start      %7.0f MiB\n", Status("VmRSS:") - empty);
  Replicas replicas(store.get(), setting.replicas);
  replicas.ReadFirst();
  for (Clock clock = 0; clock < setting.rounds; ++clock) {
    replicas.PushRound(clock);
    std::printf("  after round %-2d    %7.0f MiB\n", static_cast<int>(clock) + 1, Status("VmRSS:") - empty);
  }
  std::printf("  peak              %7.0f MiB\n", Status("VmHWM:") - empty);
  std::printf("  worst case by sum %7.0f MiB\n", WorstCase(setting, weights, slots_each * weights));
  std::printf("  64 MiB + 1.3 x (weights + slots + spare + a gradient for each worker): %.0f MiB\n",
              64 + 1.3 * weights * (2 + slots_each + setting.replicas));
  return 0;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  tessera::Setting setting;
  CLI::App app("Resident memory of a parameter server's store, vgg16 on one server.");
  app.add_option("--mode", setting.mode)
      ->check(CLI::IsMember({"sync", "async", "delay_compensated"}))
      ->capture_default_str();
  app.add_option("--optimizer", setting.optimizer)->capture_default_str();
  app.add_option("--replicas", setting.replicas)->check(CLI::Range(1, 64))->capture_default_str();
  app.add_option("--rounds", setting.rounds)->check(CLI::Range(1, 1000))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return tessera::Measure(setting);
}

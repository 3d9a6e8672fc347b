// What a server does with a push, without the wire: reduction, optimizer and the new version, through the
// real store, beside a plain copy in the same run. Bytes are those that must move between memory and the
// processor: each tensor that is read or written counts once. The model is larger than the caches, as it is
// when a step goes by between two pushes of a shard.
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/parameter_store.h"

namespace tessera {
namespace {

constexpr int64_t kShardBytes = 512 << 10;
constexpr int64_t kShards = 128;  // 64 MiB
constexpr int64_t kShardLength = kShardBytes / static_cast<int64_t>(sizeof(float));

// One layer of kShards shards.
ShardLayout Layout() {
  const Initializer uniform{Initializer::Kind::kUniform, 0.01F};
  return ShardLayout::Create({{"fc",
                               ParameterKind::kWeight,
                               {{"fc.weight", {kShards, kShardLength}, ParameterKind::kWeight, uniform}}}},
                             kShardBytes)
      .value();
}

struct SaveOptions {
  Version every = 0;
  std::function<void(ShardSnapshot)> on_snapshot;
};

// A backup that answers at once: what it is told is dropped.
class Nowhere : public ForwardSink {
 public:
  void Add(ShardForward) override {}
  void Flush(ShardId) override {}
};

std::unique_ptr<ParameterStore> Store(const std::string& optimizer, int32_t replicas, SaveOptions save,
                                      const ShardDuty& duty = {}) {
  ParameterStoreOptions options;
  options.checkpoint_every = save.every;
  options.on_snapshot = std::move(save.on_snapshot);
  options.forwards = std::make_shared<Nowhere>();
  options.consistency.replicas = options.consistency.group = replicas;
  options.optimizer = OptimizerRegistry::Create("optimizer", optimizer, {{"lr", "0.01"}}).value();
  options.schedule = CreateSchedule("constant", {}, {}).value();
  const ShardLayout layout = Layout();
  std::vector<ShardId> held;
  for (const Shard& shard : layout.shards()) held.push_back(shard.id);
  auto store = ParameterStore::Create(std::move(options), layout, held).value();
  std::map<ShardId, ShardDuty> duties;
  for (const ShardId shard : held) duties[shard] = duty;
  if (!store->SetDuties(/*term=*/1, duties).ok()) return nullptr;
  return store;
}

// As bytes that came over a socket, or in a worker's shared memory, where they may be held.
enum class Memory { kReceived, kShared };

std::vector<TensorBytes> Gradients(Memory memory) {
  std::vector<TensorBytes> gradients;
  for (int64_t i = 0; i < kShards; ++i) {
    auto gradient = std::make_shared<TensorBuffer>(kShardLength);
    for (float& value : gradient->span()) value = 1e-3F;
    const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(gradient->data()), kShardBytes);
    gradients.emplace_back().Append({std::move(gradient), bytes, memory == Memory::kShared});
  }
  return gradients;
}

// Tensors that a round of `replicas` pushes must read and write: every gradient; each pair's first sum,
// written and read back, but what is held where it lies is its own; weights and new weights; each slot, read
// and written. The sum of all of them is never written.
int64_t TensorsMoved(int64_t replicas, int64_t slots, Memory memory) {
  const int64_t held = memory == Memory::kShared ? (replicas + 1) / 2 : 0;
  const int64_t partial_sums = std::max(replicas - 1 - held, int64_t{0});
  return replicas + 2 * partial_sums + 2 + 2 * slots;
}

// One iteration is one round of one shard.
void Round(benchmark::State& state, const std::string& optimizer, int64_t slots,
           Memory memory = Memory::kReceived, SaveOptions save = {}, const ShardDuty& duty = {}) {
  const auto replicas = static_cast<int32_t>(state.range(0));
  const std::unique_ptr<ParameterStore> store = Store(optimizer, replicas, std::move(save), duty);
  const std::vector<TensorBytes> gradients = Gradients(memory);
  Clock clock = 0;
  ShardId shard = 0;
  for (auto _ : state) {
    for (ReplicaId replica = 0; replica < replicas; ++replica) {
      const TensorBytes& gradient = gradients[static_cast<size_t>((shard + replica) % kShards)];
      if (!store->Push({shard, {replica, replica}, clock, clock}, gradient).ok())
        state.SkipWithError("a push failed");
    }
    if (++shard == kShards) shard = 0, ++clock;
  }
  state.SetBytesProcessed(state.iterations() * kShardBytes * TensorsMoved(replicas, slots, memory));
  state.SetItemsProcessed(state.iterations() * replicas);  // pushes
}

void Sgd(benchmark::State& state) { Round(state, "sgd", 0); }
void Momentum(benchmark::State& state) { Round(state, "momentum", 1); }
void MomentumShared(benchmark::State& state) { Round(state, "momentum", 1, Memory::kShared); }

// Each round saves its shard: over Momentum/1, what one snapshot costs the push that makes it. As by a writer
// that has all shards to write, all snapshots are kept, and then dropped: into memory of snapshots before,
// or, as at the first checkpoint, into memory that is fresh from the kernel.
void Saved(benchmark::State& state, bool fresh) {
  std::vector<ShardSnapshot> kept;
  Round(state, "momentum", 1, Memory::kReceived, {1, [&](ShardSnapshot snapshot) {
                                                    kept.push_back(std::move(snapshot));
                                                    if (kept.size() < kShards) return;
                                                    state.PauseTiming();
                                                    kept.clear();
                                                    if (fresh) malloc_trim(0);
                                                    state.ResumeTiming();
                                                  }});
}

void MomentumSaved(benchmark::State& state) { Saved(state, false); }
void MomentumSavedFresh(benchmark::State& state) { Saved(state, true); }
// Over Momentum/1, what a primary does for its backups, but for sending it: the gradient that the optimizer
// saw is written too.
void MomentumForwarded(benchmark::State& state) {
  Round(state, "momentum", 1, Memory::kReceived, {}, {.joining = {1}});
}

// The same update by a backup.
void MomentumRepeated(benchmark::State& state) {
  const std::unique_ptr<ParameterStore> store = Store("momentum", 1, {}, {.role = ShardRole::kBackup});
  const std::vector<TensorBytes> gradients = Gradients(Memory::kReceived);
  ShardForward forward{.made = {1, 1}, .covered = {{0, 0}}, .learning_rate = 0.01};
  for (auto _ : state) {
    forward.gradient = gradients[static_cast<size_t>(forward.shard)];
    if (!store->Forward(/*term=*/1, forward).ok()) state.SkipWithError("a forward failed");
    if (++forward.shard < kShards) continue;
    forward.shard = 0;
    ++forward.made.version;
    ++forward.clock;
  }
  state.SetBytesProcessed(state.iterations() * kShardBytes * TensorsMoved(1, 1, Memory::kReceived));
}
void Adam(benchmark::State& state) { Round(state, "adam", 2); }

// The machine's copy bandwidth, shard by shard over as much memory as momentum with one replica goes through
// (gradients, two versions, a slot): bytes read and bytes written.
void Copy(benchmark::State& state) {
  std::vector<std::unique_ptr<TensorBuffer>> buffers;
  for (int64_t i = 0; i < 4 * kShards; ++i) {
    buffers.push_back(std::make_unique<TensorBuffer>(kShardLength));
    std::memset(buffers.back()->data(), 0, kShardBytes);
  }
  size_t at = 0;
  for (auto _ : state) {
    std::memcpy(buffers[at]->data(), buffers[at + 1]->data(), kShardBytes);
    benchmark::ClobberMemory();
    at = (at + 2) % buffers.size();
  }
  state.SetBytesProcessed(state.iterations() * 2 * kShardBytes);
}

BENCHMARK(Copy);
BENCHMARK(Sgd)->Arg(1)->Arg(2)->Arg(4);
BENCHMARK(Momentum)->Arg(1)->Arg(2)->Arg(4);
BENCHMARK(MomentumShared)->Arg(2);
BENCHMARK(MomentumSaved)->Arg(1);
BENCHMARK(MomentumSavedFresh)->Arg(1);
BENCHMARK(MomentumForwarded)->Arg(1);
BENCHMARK(MomentumRepeated);
BENCHMARK(Adam)->Arg(1);

}  // namespace
}  // namespace tessera

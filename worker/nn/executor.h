// Runs a graph on a device. Implementations: worker/reference (plain, obviously right), worker/cpu (oneDNN).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/registry.h"
#include "common/trace/trace_recorder.h"
#include "common/types.h"
#include "worker/nn/graph.h"

namespace tessera::nn {

// A minibatch in host memory; the caller owns it until the call returns.
struct Batch {
  Batch() = default;
  // Of the one input of a network of images.
  Batch(absl::Span<const float> images, absl::Span<const int32_t> labels) : inputs{images}, labels(labels) {}
  Batch(std::vector<absl::Span<const float>> inputs, absl::Span<const int32_t> labels)
      : inputs(std::move(inputs)), labels(labels) {}

  std::vector<absl::Span<const float>> inputs;  // as the graph's: [N,C,H,W] or [N,F] each, normalised
  absl::Span<const int32_t> labels;             // [N], 0 .. classes-1
  int64_t size() const { return static_cast<int64_t>(labels.size()); }
};

// Where an executor gets weights and leaves gradients, by block of the graph. The trainer implements it over
// the wire, tests over memory. Called from the executor's thread only.
class ParameterExchange {
 public:
  virtual ~ParameterExchange() = default;
  // The flat float32 values of `block`; may wait for them. They stay as they are until the step ends.
  // Called in forward, just before the first layer that needs them. Errors end the step.
  virtual absl::StatusOr<absl::Span<const float>> Weights(int block) = 0;
  // Where the gradient of `block` goes: as long as the block, contents undefined, all of it to be written.
  virtual absl::Span<float> Gradient(int block) = 0;
  // The gradient of `block` is complete. Called from the last layer down, as soon as backward has made it and
  // before the backward of any layer below starts. For a statistics block: batch mean and unbiased variance,
  // after forward or with the layer's weights. Errors end the step.
  virtual absl::Status GradientReady(int block) = 0;
};

// Keys the randomness inside a step (dropout).
struct StepKey {
  uint64_t seed = 0;
  ReplicaId replica = 0;
  Clock clock = 0;
};

struct StepResult {
  double loss = 0;      // mean over the minibatch
  int64_t correct = 0;  // predictions equal to the label (ties: the lowest class)
};

struct EvaluationResult {
  double loss_sum = 0;  // summed in float64 over the batch, in order
  int64_t correct = 0;
  std::vector<float> logits;  // [N,classes]: what the loss reads
};

// Not thread-safe. Deterministic: the same calls give the same bits on the same machine, whatever ran before.
class Executor {
 public:
  virtual ~Executor() = default;

  // Forward in training mode and backward; the gradients are means over the minibatch.
  // Errors: kInvalidArgument, a batch that does not fit the graph, a label out of range; kOutOfRange, a loss
  // or activation that is not finite (names the first layer); those of `exchange`.
  virtual absl::StatusOr<StepResult> Step(const Batch& batch, const StepKey& key,
                                          ParameterExchange* exchange) = 0;

  // Forward with running statistics and no dropout. Any batch size. Errors: as Step.
  virtual absl::StatusOr<EvaluationResult> Evaluate(const Batch& batch, ParameterExchange* exchange) = 0;

  // Device kind, instruction set, library versions, threads: what may change the last bit of a result.
  virtual std::string Fingerprint() const = 0;
};

struct ExecutorOptions {
  int threads = 1;
  TraceTrack trace;  // where forward and backward of each layer are recorded (the cpu executor's)
};

// Executors by name: "cpu", "reference".
using ExecutorRegistry = Registry<Executor, std::shared_ptr<const Graph>, ExecutorOptions>;

}  // namespace tessera::nn

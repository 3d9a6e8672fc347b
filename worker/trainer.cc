#include "worker/trainer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/replica_tree.h"
#include "common/status.h"
#include "common/tensor_buffer.h"
#include "worker/local_reducer.h"
#include "worker/nn/batch_check.h"

namespace tessera {
namespace {

// Idle gradient buffers that are kept for the next step; a worker holds few more than one model's.
constexpr size_t kGradientPoolBytes = size_t{1} << 30;

}  // namespace

// Binds an executor's blocks to the wire, for one minibatch of one replica at a time.
class Trainer::StepExchange : public nn::ParameterExchange {
 public:
  StepExchange(const TrainerOptions& options, const TrainerParts& parts)
      : options_(options),
        parts_(parts),
        pool_(kGradientPoolBytes),
        gradients_(parts.graph->blocks().size()) {
    const ReplicaTree tree(options.replicas);
    last_node_ = tree.Cover(options.local).back();
    for (size_t block = 0; block < gradients_.size(); ++block) reducers_.emplace_back(tree, options.local);
  }

  void Begin(ReplicaId replica, Clock clock) {
    replica_ = replica;
    clock_ = clock;
  }

  absl::StatusOr<absl::Span<const float>> Weights(int block) override {
    return parts_.weights->Wait(block, clock_, absl::Now() + options_.patience);
  }

  absl::Span<float> Gradient(int block) override {
    std::shared_ptr<TensorBuffer>& gradient = gradients_[static_cast<size_t>(block)];
    if (gradient == nullptr) gradient = pool_.Take(static_cast<size_t>(Block(block).num_elements()));
    return gradient->span();
  }

  absl::Status GradientReady(int block) override {
    std::shared_ptr<TensorBuffer> gradient = std::move(gradients_[static_cast<size_t>(block)]);
    if (!nn::AllFinite(gradient->span())) {
      return absl::OutOfRangeError(
          absl::StrCat("layer `", Block(block).layer, "`: its gradient is not finite"));
    }
    // The push names the version it was computed on. A training step does not read the batch-norm statistics,
    // so that those may still be on their way.
    TESSERA_RETURN_IF_ERROR(Weights(block).status());
    std::optional<LocalReducer::Node> node =
        reducers_[static_cast<size_t>(block)].Add(replica_, std::move(gradient));
    if (node.has_value()) {
      const bool wants_weights = node->replicas == last_node_;
      parts_.client->Push(block, node->replicas, clock_, std::move(node->sum), wants_weights);
    }
    return absl::OkStatus();
  }

 private:
  const ParameterBlock& Block(int block) const { return parts_.graph->blocks()[static_cast<size_t>(block)]; }

  const TrainerOptions& options_;
  const TrainerParts& parts_;
  BufferPool pool_;
  std::vector<std::shared_ptr<TensorBuffer>> gradients_;  // being written, by block
  std::vector<LocalReducer> reducers_;                    // by block
  ReplicaRange last_node_;                                // the one whose push asks for the next weights
  ReplicaId replica_ = 0;
  Clock clock_ = 0;
};

Trainer::Trainer(TrainerOptions options, TrainerParts parts, EvaluationSink sink)
    : options_(std::move(options)),
      parts_(std::move(parts)),
      sink_(std::move(sink)),
      exchange_(std::make_unique<StepExchange>(options_, parts_)) {
  for (ReplicaId replica = options_.local.first; replica <= options_.local.last; ++replica) {
    progress_.replicas.push_back({replica, 0, {}, {}});
  }
}

Trainer::~Trainer() = default;

absl::Status Trainer::Run() {
  parts_.client->Request(options_.local, 0);
  for (int64_t epoch = 0; epoch < options_.epochs; ++epoch) {
    for (Clock step = 0; step < options_.steps_per_epoch; ++step) {
      const Clock clock = epoch * options_.steps_per_epoch + step;
      // The readable replica with the lowest clock: in sync, each of ours in turn.
      for (ReplicaId replica = options_.local.first; replica <= options_.local.last; ++replica) {
        TESSERA_RETURN_IF_ERROR(
            Annotate(RunStep(replica, clock),
                     absl::StrCat("step ", clock + 1, " (epoch ", epoch + 1, ") of replica ", replica)));
      }
    }
    const Clock clock = (epoch + 1) * options_.steps_per_epoch;
    TESSERA_RETURN_IF_ERROR(Annotate(AwaitAcknowledgement(clock), absl::StrCat("end of epoch ", epoch + 1)));
    TESSERA_RETURN_IF_ERROR(Annotate(Evaluate(clock), absl::StrCat("evaluation after epoch ", epoch + 1)));
  }
  return absl::OkStatus();
}

absl::Status Trainer::RunStep(ReplicaId replica, Clock clock) {
  const absl::Time start = absl::Now();
  exchange_->Begin(replica, clock);
  const nn::Batch batch = parts_.train->Load(parts_.sampler->Minibatch(replica, clock));
  TESSERA_ASSIGN_OR_RETURN(const nn::StepResult result,
                           parts_.executor->Step(batch, {options_.seed, replica, clock}, exchange_.get()));
  Record(replica, clock, result, absl::Now() - start);
  return absl::OkStatus();
}

absl::Status Trainer::AwaitAcknowledgement(Clock clock) {
  for (size_t block = 0; block < parts_.graph->blocks().size(); ++block) {
    TESSERA_RETURN_IF_ERROR(
        parts_.weights->Wait(static_cast<int>(block), clock, absl::Now() + options_.patience).status());
  }
  MutexLock lock(&mutex_);
  for (ReplicaTotals& totals : progress_.replicas) totals.clock = clock;
  return absl::OkStatus();
}

absl::Status Trainer::Evaluate(Clock clock) {
  exchange_->Begin(options_.local.first, clock);
  std::vector<EvaluationChunk> chunks;
  for (int32_t chunk = 0; chunk < NumEvaluationChunks(options_.test_samples); ++chunk) {
    const ReplicaId replica = chunk % options_.replicas;
    if (!options_.local.Contains({replica, replica})) continue;
    TESSERA_ASSIGN_OR_RETURN(chunks.emplace_back(), EvaluateChunk(parts_.executor, exchange_.get(),
                                                                  parts_.test, options_.test_samples, chunk));
  }
  return sink_(clock, chunks);
}

void Trainer::Record(ReplicaId replica, Clock clock, const nn::StepResult& result, absl::Duration duration) {
  const int64_t epoch = clock / options_.steps_per_epoch;
  MutexLock lock(&mutex_);
  progress_.training_seconds += absl::ToDoubleSeconds(duration);
  ReplicaTotals& totals = progress_.replicas[static_cast<size_t>(replica - options_.local.first)];
  if (totals.current.epoch != epoch) {
    totals.last = totals.current;
    totals.current = {epoch, 0, 0, 0};
  }
  totals.clock = clock;  // it was computed on version `clock`, so that many pushes have been acknowledged
  totals.current.loss_sum += result.loss;
  totals.current.minibatches += 1;
  totals.current.correct += result.correct;
}

TrainerProgress Trainer::progress() const {
  MutexLock lock(&mutex_);
  return progress_;
}

}  // namespace tessera

// Weights and gradients of a graph in memory, and a record of what an executor asked for and when.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/nn/executor.h"
#include "worker/nn/graph.h"

namespace tessera::nn {

// An exchange of scalar T with the interface `Base` (nn::ParameterExchange for float). Gradients start as
// NaN.
template <typename T, typename Base>
class MemoryExchangeOf : public Base {
 public:
  struct Event {
    enum class Kind { kWeights, kGradient, kReady };
    Kind kind;
    int block;
    friend bool operator==(const Event&, const Event&) = default;
  };

  // All weights 0.
  explicit MemoryExchangeOf(const Graph& graph) {
    for (const ParameterBlock& block : graph.blocks()) {
      const size_t length = static_cast<size_t>(block.num_elements());
      weights.emplace_back(length, T{0});
      gradients.emplace_back(length, std::numeric_limits<T>::quiet_NaN());
    }
  }

  absl::StatusOr<absl::Span<const T>> Weights(int block) override {
    events.push_back({Event::Kind::kWeights, block});
    if (block == failing_weights) return absl::UnavailableError("no weights");
    return absl::Span<const T>(weights[block]);
  }

  absl::Span<T> Gradient(int block) override {
    events.push_back({Event::Kind::kGradient, block});
    return absl::MakeSpan(gradients[block]);
  }

  absl::Status GradientReady(int block) override {
    events.push_back({Event::Kind::kReady, block});
    if (block == failing_gradient) return absl::UnavailableError("no gradient");
    return absl::OkStatus();
  }

  // By block.
  std::vector<std::vector<T>> weights, gradients;
  std::vector<Event> events;
  int failing_weights = -1, failing_gradient = -1;  // blocks whose calls fail
};

using MemoryExchange = MemoryExchangeOf<float, ParameterExchange>;

}  // namespace tessera::nn

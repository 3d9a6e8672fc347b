// Every registered layer: its reference op against finite differences in double, on buffers that start as
// NaN.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "tests/worker/nn/layer_cases.h"
#include "worker/nn/layer.h"
#include "worker/reference/op.h"

namespace tessera::reference {
namespace {

using Values = std::vector<double>;

Values Poison(size_t length) { return Values(length, std::numeric_limits<double>::quiet_NaN()); }

bool AllFinite(const Values& values) {
  for (double value : values) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

// Distinct numbers in random order, at least 2/length from each other and 1/length from zero: far more than
// the step of a finite difference, so that no ReLU and no maximum changes sides.
Values SpreadValues(size_t length, uint64_t seed) {
  const RandomStream stream(seed, RandomPurpose::kSampleOrder);
  const std::vector<uint32_t> order = Permutation(static_cast<uint32_t>(length), stream);
  Values values(length);
  for (size_t i = 0; i < length; ++i) {
    values[i] = (2.0 * order[i] + 1.5) / static_cast<double>(length) - 1.0;
  }
  return values;
}

// One layer in one shape, with inputs, weights and a random linear function of the output to differentiate.
class OpUnderTest {
 public:
  OpUnderTest(const std::string& kind, const nn::LayerCase& layer_case) : batch_(layer_case.batch) {
    std::shared_ptr<const nn::Layer> layer = *nn::LayerRegistry::Create("layer", kind, layer_case.options);
    const nn::LayerShape shape = *layer->Infer(layer_case.inputs);
    op_ = *OpRegistry<double>::Create("op", kind, OpNode{layer, layer_case.inputs, shape.output});
    uint64_t seed = 1;
    for (const Shape& input : layer_case.inputs) {
      inputs.push_back(SpreadValues(batch_ * NumElements(input), seed++));
    }
    size_t weights_length = 0;
    for (const ParameterSpec& spec : shape.parameters) {
      (spec.kind == ParameterKind::kWeight ? weights_length : statistics_length_) += NumElements(spec.shape);
    }
    weights = SpreadValues(weights_length, seed++);
    output_length_ = (shape.output.empty() ? 1 : batch_) * NumElements(shape.output);
    // The executor starts from a loss gradient of 1; another number shows that it is used.
    output_gradient_ = SpreadValues(output_length_, seed++);
    for (int64_t n = 0; n < batch_; ++n) {
      const int64_t classes = layer_case.inputs[0][0];
      labels_.push_back(static_cast<int32_t>((n * 3 + 1) % classes));
    }
  }

  Values Forward() const {
    Values output = Poison(output_length_), statistics = Poison(statistics_length_);
    ForwardArguments<double> arguments;
    arguments.batch = batch_;
    arguments.inputs = Views();
    arguments.weights = weights;
    arguments.labels = labels_;
    arguments.output = absl::MakeSpan(output);
    arguments.statistics = absl::MakeSpan(statistics);
    op_->Forward(arguments);
    EXPECT_TRUE(AllFinite(statistics)) << "a statistic was not written";
    return output;
  }

  double Objective() const {
    const Values output = Forward();
    return std::inner_product(output.begin(), output.end(), output_gradient_.begin(), 0.0);
  }

  struct Gradients {
    std::vector<Values> inputs;
    Values weights;
  };

  Gradients Backward(bool want_inputs) const {
    Gradients gradients;
    for (const Values& input : inputs) gradients.inputs.push_back(Poison(want_inputs ? input.size() : 0));
    gradients.weights = Poison(weights.size());
    BackwardArguments<double> arguments;
    arguments.batch = batch_;
    arguments.inputs = Views();
    arguments.weights = weights;
    arguments.labels = labels_;
    arguments.output_gradient = output_gradient_;
    for (Values& gradient : gradients.inputs) arguments.input_gradients.push_back(absl::MakeSpan(gradient));
    arguments.weight_gradients = absl::MakeSpan(gradients.weights);
    op_->Backward(arguments);
    return gradients;
  }

  std::vector<Values> inputs;
  Values weights;

 private:
  std::vector<absl::Span<const double>> Views() const { return {inputs.begin(), inputs.end()}; }

  const int64_t batch_;
  std::unique_ptr<Op<double>> op_;
  size_t statistics_length_ = 0, output_length_ = 0;
  Values output_gradient_;
  std::vector<int32_t> labels_;
};

// Compares `gradient` with central differences of the objective by each element of `values`, which is part of
// `op`.
void ExpectDerivative(const OpUnderTest& op, Values& values, const Values& gradient) {
  constexpr double kStep = 1e-5;
  ASSERT_EQ(gradient.size(), values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const double value = values[i];
    values[i] = value + kStep;
    const double above = op.Objective();
    values[i] = value - kStep;
    const double below = op.Objective();
    values[i] = value;
    const double difference = (above - below) / (2 * kStep);
    ASSERT_NEAR(gradient[i], difference, 1e-6 * (1 + std::abs(difference))) << "element " << i;
  }
}

class OpGradient : public testing::TestWithParam<std::string> {};

TEST_P(OpGradient, EqualsFiniteDifferencesInEveryCase) {
  const auto all_cases = nn::LayerCases();
  const auto cases = all_cases.find(GetParam());
  ASSERT_NE(cases, all_cases.end()) << "tests/worker/nn/layer_cases.h has no cases of this layer";
  ASSERT_FALSE(cases->second.empty());
  for (size_t c = 0; c < cases->second.size(); ++c) {
    SCOPED_TRACE(absl::StrCat("case ", c));
    OpUnderTest op(GetParam(), cases->second[c]);
    EXPECT_TRUE(AllFinite(op.Forward())) << "an element of the output was not written";
    const OpUnderTest::Gradients gradients = op.Backward(/*want_inputs=*/true);
    for (size_t i = 0; i < op.inputs.size(); ++i) {
      SCOPED_TRACE(absl::StrCat("input ", i));
      ExpectDerivative(op, op.inputs[i], gradients.inputs[i]);
    }
    SCOPED_TRACE("weights");
    ExpectDerivative(op, op.weights, gradients.weights);
    EXPECT_EQ(op.Backward(/*want_inputs=*/false).weights, gradients.weights);
  }
}

INSTANTIATE_TEST_SUITE_P(EveryLayer, OpGradient, testing::ValuesIn(nn::LayerRegistry::Names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tessera::reference

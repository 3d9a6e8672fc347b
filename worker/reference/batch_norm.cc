#include "worker/nn/layers/batch_norm.h"

#include <cmath>

#include "worker/reference/op.h"
#include "worker/reference/tensor_view.h"

namespace tessera::reference {
namespace {

struct Moments {
  double mean = 0;
  double variance = 0;  // biased
};

template <typename T>
class BatchNormOp final : public LayerOp<T, nn::BatchNorm> {
 public:
  using LayerOp<T, nn::BatchNorm>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    const Images<const T> x(a.inputs[0], this->input());
    const Images<T> y(a.output, this->output());
    const int64_t channels = x.channels();
    for (int64_t c = 0; c < channels; ++c) {
      const Moments moments =
          a.training ? BatchMoments(x, a.batch, c) : Moments{a.running[c], a.running[channels + c]};
      const double weight = a.weights[c], bias = a.weights[channels + c];
      const double inverse_std = InverseStd(moments);
      ForEach(x, a.batch, [&](int64_t n, int64_t i, int64_t j) {
        y(n, c, i, j) = static_cast<T>(weight * (x(n, c, i, j) - moments.mean) * inverse_std + bias);
      });
      if (!a.training) continue;
      a.statistics[c] = static_cast<T>(moments.mean);
      a.statistics[channels + c] = static_cast<T>(moments.variance * Unbias(x, a.batch));
    }
  }

  // With xhat = (x - mean) / std, of which mean and std depend on x too:
  //   dbias = sum dy;  dweight = sum dy*xhat;  dx = weight/std * (dy - dbias/M - xhat*dweight/M).
  void Backward(const BackwardArguments<T>& a) const override {
    const Images<const T> x(a.inputs[0], this->input());
    const Images<const T> dy(a.output_gradient, this->output());
    for (int64_t c = 0; c < x.channels(); ++c) {
      const Moments moments = BatchMoments(x, a.batch, c);
      const double inverse_std = InverseStd(moments);
      const auto xhat = [&](int64_t n, int64_t i, int64_t j) {
        return (x(n, c, i, j) - moments.mean) * inverse_std;
      };
      double dweight = 0, dbias = 0;
      ForEach(x, a.batch, [&](int64_t n, int64_t i, int64_t j) {
        dweight += dy(n, c, i, j) * xhat(n, i, j);
        dbias += dy(n, c, i, j);
      });
      a.weight_gradients[c] = static_cast<T>(dweight);
      a.weight_gradients[x.channels() + c] = static_cast<T>(dbias);
      if (a.input_gradients[0].empty()) continue;
      const Images<T> dx(a.input_gradients[0], this->input());
      const double m = Count(x, a.batch);
      ForEach(x, a.batch, [&](int64_t n, int64_t i, int64_t j) {
        dx(n, c, i, j) = static_cast<T>(a.weights[c] * inverse_std *
                                        (dy(n, c, i, j) - dbias / m - xhat(n, i, j) * dweight / m));
      });
    }
  }

 private:
  // Elements of one channel.
  static double Count(const Images<const T>& x, int64_t batch) {
    return static_cast<double>(batch * x.height() * x.width());
  }

  // Turns a biased variance into an unbiased one; a single element has none, and keeps 0.
  static double Unbias(const Images<const T>& x, int64_t batch) {
    const double m = Count(x, batch);
    return m > 1 ? m / (m - 1) : 1.0;
  }

  double InverseStd(const Moments& moments) const {
    return 1 / std::sqrt(moments.variance + this->layer().eps);
  }

  template <typename Visit>
  static void ForEach(const Images<const T>& x, int64_t batch, const Visit& visit) {
    for (int64_t n = 0; n < batch; ++n) {
      for (int64_t i = 0; i < x.height(); ++i) {
        for (int64_t j = 0; j < x.width(); ++j) visit(n, i, j);
      }
    }
  }

  static Moments BatchMoments(const Images<const T>& x, int64_t batch, int64_t c) {
    Moments moments;
    ForEach(x, batch, [&](int64_t n, int64_t i, int64_t j) { moments.mean += x(n, c, i, j); });
    moments.mean /= Count(x, batch);
    ForEach(x, batch, [&](int64_t n, int64_t i, int64_t j) {
      const double difference = x(n, c, i, j) - moments.mean;
      moments.variance += difference * difference;
    });
    moments.variance /= Count(x, batch);
    return moments;
  }
};

const RegisterOp<BatchNormOp> kEntry("batch_norm");

}  // namespace
}  // namespace tessera::reference

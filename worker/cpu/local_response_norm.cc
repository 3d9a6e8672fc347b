#include "worker/nn/layers/local_response_norm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "worker/cpu/op.h"

namespace tessera::cpu {
namespace {

using Channels = std::vector<float>;  // of one pixel

// A tensor of images, by pixels.
class Pixels {
 public:
  Pixels(const dnnl::memory& memory, int64_t channels)
      : data_(static_cast<float*>(memory.get_data_handle())),
        index_(memory.get_desc()),
        channels_(index_.Channels(channels)) {}

  void Read(int64_t n, int64_t h, int64_t w, Channels& values) const {
    const float* pixel = data_ + index_.Pixel(n, h, w);
    for (size_t c = 0; c < channels_.size(); ++c) values[c] = pixel[channels_[c]];
  }
  void Write(const Channels& values, int64_t n, int64_t h, int64_t w) const {
    float* pixel = data_ + index_.Pixel(n, h, w);
    for (size_t c = 0; c < channels_.size(); ++c) pixel[channels_[c]] = values[c];
  }

 private:
  float* const data_;
  const ImageIndex index_;
  const std::vector<int64_t> channels_;
};

// Sums over the windows of all channels of a pixel, without an end to test for: the values lie between zeros.
class Windows {
 public:
  // The window of channel c is c-before .. c+after.
  Windows(int64_t channels, int64_t before, int64_t after)
      : before_(before), length_(before + 1 + after), padded_(channels + before + after, 0.0f) {}

  float* values() { return padded_.data() + before_; }

  void Sum(Channels& sums) const {
    std::fill(sums.begin(), sums.end(), 0.0f);
    for (int64_t k = 0; k < length_; ++k) {
      for (size_t c = 0; c < sums.size(); ++c) sums[c] += padded_[k + c];
    }
  }

 private:
  const int64_t before_, length_;
  Channels padded_;
};

// The arithmetic of the layer, one pixel after the other.
struct Norm {
  Dims dims;  // [N,C,H,W]
  int64_t size;
  float alpha_by_size, beta, k;

  // `factor` becomes d^-beta, where it is wanted.
  void Forward(const dnnl::memory& x, const dnnl::memory& y, const dnnl::memory& factor) const {
    Clear(y);
    const Pixels in(x, dims[1]), out(y, dims[1]), kept(factor ? factor : y, dims[1]);
#pragma omp parallel for
    for (int64_t n = 0; n < dims[0]; ++n) {
      Channels values(dims[1]), factors(dims[1]);
      Windows squares = Squares();
      ForEachPixel([&](int64_t h, int64_t w) {
        in.Read(n, h, w, values);
        Denominators(values, squares, factors);
        for (float& f : factors) f = std::pow(f, -beta);
        if (factor) kept.Write(factors, n, h, w);
        for (size_t c = 0; c < values.size(); ++c) values[c] *= factors[c];
        out.Write(values, n, h, w);
      });
    }
  }

  void Backward(const dnnl::memory& x, const dnnl::memory& factor, const dnnl::memory& dy,
                const dnnl::memory& dx) const {
    Clear(dx);
    const Pixels in(x, dims[1]), kept(factor, dims[1]), above(dy, dims[1]), below(dx, dims[1]);
#pragma omp parallel for
    for (int64_t n = 0; n < dims[0]; ++n) {
      Channels values(dims[1]), factors(dims[1]), gradients(dims[1]), sums(dims[1]);
      Windows squares = Squares(), products(dims[1], (size - 1) / 2, size / 2);
      ForEachPixel([&](int64_t h, int64_t w) {
        in.Read(n, h, w, values);
        kept.Read(n, h, w, factors);
        above.Read(n, h, w, gradients);
        Denominators(values, squares, sums);
        for (size_t c = 0; c < values.size(); ++c) {
          gradients[c] *= factors[c];
          products.values()[c] = gradients[c] * values[c] / sums[c];
        }
        products.Sum(sums);
        const float scale = 2 * alpha_by_size * beta;
        for (size_t c = 0; c < values.size(); ++c) gradients[c] -= scale * values[c] * sums[c];
        below.Write(gradients, n, h, w);
      });
    }
  }

  Windows Squares() const { return {dims[1], size / 2, (size - 1) / 2}; }

  // d of every channel; `squares` is one of Squares().
  void Denominators(const Channels& values, Windows& squares, Channels& denominators) const {
    for (size_t c = 0; c < values.size(); ++c) squares.values()[c] = values[c] * values[c];
    squares.Sum(denominators);
    for (float& d : denominators) d = k + alpha_by_size * d;
  }

  template <typename Visit>
  void ForEachPixel(const Visit& visit) const {
    for (int64_t h = 0; h < dims[2]; ++h) {
      for (int64_t w = 0; w < dims[3]; ++w) visit(h, w);
    }
  }

  // Elements that pad a layout are 0.
  static void Clear(const dnnl::memory& memory) {
    std::memset(memory.get_data_handle(), 0, memory.get_desc().get_size());
  }
};

// By hand: oneDNN is fast for beta = 0.75 alone, and takes an even window for the odd one below it.
class LocalResponseNormOp final : public LayerOp<nn::LocalResponseNorm> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    const Layout layout = LayoutLike(planner.Input(0).layout(), planner.InputDims(0));
    source_ = planner.InputAs(0, layout);
    const Tensor output = planner.NewOutput(layout);
    std::vector<Tensor> tensors = {source_, output};
    if (planner.training()) tensors.push_back(factor_ = planner.NewTensor(layout));
    planner.Emit([x = source_.memory, y = output.memory, factor = factor_.memory,
                  norm = MakeNorm(planner)](Run&) { norm.Forward(x, y, factor); },
                 tensors);
  }

  void PlanBackward(Planner& planner) override {
    const Tensor output_gradient = planner.OutputGradient();
    const Tensor gradient = planner.NewInputGradient(0, source_.layout());
    planner.Emit([x = source_.memory, factor = factor_.memory, dy = output_gradient.memory,
                  dx = gradient.memory, norm = MakeNorm(planner)](Run&) { norm.Backward(x, factor, dy, dx); },
                 {source_, factor_, output_gradient, gradient});
    planner.DeliverInputGradient(0, gradient);
  }

 private:
  Norm MakeNorm(const Planner& planner) const {
    return {planner.InputDims(0), layer().size,
            static_cast<float>(layer().alpha / static_cast<double>(layer().size)),
            static_cast<float>(layer().beta), static_cast<float>(layer().k)};
  }

  Tensor source_, factor_;  // d^-beta, kept for backward
};

const RegisterOp<LocalResponseNormOp> kEntry("local_response_norm");

}  // namespace
}  // namespace tessera::cpu

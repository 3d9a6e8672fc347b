// Damps each element by the energy of its neighbours in other channels:
//   y[n,c,i,j] = x[n,c,i,j] / d[n,c,i,j]^beta,
//   d[n,c,i,j] = k + alpha/size * sum of x[n,c',i,j]^2 over c - floor(size/2) <= c' <= c + floor((size-1)/2)
// and over the channels that there are. x, y: [N,C,H,W]. With
//   dx[c] = dy[c] / d[c]^beta - 2*alpha*beta/size * x[c] * sum of dy[c']*x[c'] / d[c']^(beta+1) over the c'
//   whose windows hold c.
// Options: size (required), alpha = 1e-4, beta = 0.75, k = 1.
// Source: Krizhevsky et al. 2012, section 3.3, whose alpha is not divided by size;
// torch.nn.LocalResponseNorm, which divides, and which says where an even window lies.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class LocalResponseNorm final : public Layer {
 public:
  // Errors: kInvalidArgument, an option missing, unknown or out of range.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "local_response_norm"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

  const int64_t size;
  const double alpha, beta, k;

 private:
  LocalResponseNorm(int64_t size, double alpha, double beta, double k)
      : size(size), alpha(alpha), beta(beta), k(k) {}
};

}  // namespace tessera::nn

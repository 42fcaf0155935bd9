#include "ops/ternary.h"

#include <torch/torch.h>

#include "base/error.h"

namespace wf::ops {

using torch::Tensor;

Tensor absmean(const Tensor& weight) {
  const Tensor sum = weight.detach().abs().sum(torch::kDouble);
  return (sum / double(weight.numel())).to(weight.scalar_type()).clamp_min(1e-5);
}

Ternary ternarize(const Tensor& weight) {
  if (weight.scalar_type() != torch::kFloat && weight.scalar_type() != torch::kDouble)
    fail(
        "ternarize: the weight is {}; codes are defined on fp32 masters (bf16 changes 0.2 % of "
        "them)",
        c10::toString(weight.scalar_type()));
  const torch::NoGradGuard no_grad;
  const Tensor scale = absmean(weight);
  return {(weight * scale.reciprocal()).round_().clamp_(-1, 1), scale};
}

Tensor master_from_codes(const Tensor& codes, const Tensor& scale) {
  const torch::NoGradGuard no_grad;
  const Tensor t = codes.to(torch::kFloat);
  const double nonzeros = t.abs().sum(torch::kDouble).item<double>();
  if (nonzeros == 0) return t;  // an all-zero matrix has no scale to keep: absmean gives the floor
  const double share = nonzeros / double(t.numel());
  const float target = scale.item<float>();
  // fp32 rounding of T·Δ/p, averaged again, may miss Δ by an ulp: walk to the value that returns
  // it.
  float value = float(double(target) / share);
  for (int step = 0; step < 4; ++step) {
    const float back = float(double(value) * nonzeros / double(t.numel()));
    if (back == target) break;
    value = std::nextafter(value, back < target ? std::numeric_limits<float>::infinity() : 0.0F);
  }
  return t * value;
}

}  // namespace wf::ops

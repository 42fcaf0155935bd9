#include "ops/ternary.h"

#include <torch/torch.h>

#include <cmath>
#include <limits>

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
  // |W| must sum to Δ·numel. No single fp32 magnitude may do that (above a power of two Δ/p has
  // coarser steps than Δ), so the first `raised` non-zeros take the next fp32 value up.
  const double sum = double(scale.item<float>()) * double(t.numel());
  float low = float(sum / nonzeros);
  if (double(low) * nonzeros > sum) low = std::nextafter(low, 0.0F);
  const float high = std::nextafter(low, std::numeric_limits<float>::infinity());
  const double raised = std::round((sum - double(low) * nonzeros) / (double(high) - double(low)));
  const Tensor order = t.abs().flatten().cumsum(0, torch::kLong).view_as(t);
  return t * torch::where(order <= int64_t(raised), high, low).to(torch::kFloat);
}

}  // namespace wf::ops

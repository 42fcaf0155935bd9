#include "ops/ternary.h"

#include <torch/torch.h>

#include <cmath>
#include <limits>

#include "base/error.h"

namespace wf::ops {

using torch::Tensor;

Tensor abs_sum(const Tensor& part) { return part.detach().abs().sum(torch::kDouble); }

Tensor absmean_of(const Tensor& abs_sum, int64_t numel, torch::ScalarType dtype) {
  return (abs_sum / double(numel)).to(dtype).clamp_min(1e-5);
}

Tensor absmean(const Tensor& weight) {
  return absmean_of(abs_sum(weight), weight.numel(), weight.scalar_type());
}

Tensor codes_of(const Tensor& part, const Tensor& scale) {
  return (part * scale.reciprocal()).round_().clamp_(-1, 1);
}

Ternary ternarize(const Tensor& weight) {
  if (weight.scalar_type() != torch::kFloat && weight.scalar_type() != torch::kDouble)
    fail(
        "ternarize: the weight is {}; codes are defined on fp32 masters (bf16 changes 0.2 % of "
        "them)",
        c10::toString(weight.scalar_type()));
  const torch::NoGradGuard no_grad;
  const Tensor scale = absmean(weight);
  return {codes_of(weight, scale), scale};
}

void master_from_codes_(Tensor codes, const Tensor& scale) {
  const torch::NoGradGuard no_grad;
  const int64_t nonzeros = codes.count_nonzero().item<int64_t>();
  if (nonzeros == 0) return;  // an all-zero matrix has no scale to keep: absmean gives the floor
  // |W| must sum to Δ·numel. No single fp32 magnitude may do that (above a power of two Δ/p has
  // coarser steps than Δ), so the first `raised` non-zeros take the next fp32 value up.
  const double sum = double(scale.item<float>()) * double(codes.numel());
  float low = float(sum / double(nonzeros));
  if (double(low) * double(nonzeros) > sum) low = std::nextafter(low, 0.0F);
  const float high = std::nextafter(low, std::numeric_limits<float>::infinity());
  int64_t raised =
      std::llround((sum - double(low) * double(nonzeros)) / (double(high) - double(low)));
  // A piece at a time: a matrix of positions would be larger than the master itself.
  for (Tensor piece : codes.view(-1).split(1 << 18)) {
    const Tensor position = piece.abs().cumsum(0, torch::kLong);
    piece.mul_(torch::where(position <= raised, high, low).to(torch::kFloat));
    raised -= position[-1].item<int64_t>();
  }
}

}  // namespace wf::ops

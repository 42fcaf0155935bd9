// THE ternary formula: forward, statistics and exporters all call it here.
// Source: BitNet b1.58 (arXiv:2402.17764); one Δ per logical matrix, absmean, round half to even.
#pragma once
#include <torch/types.h>

namespace wf::ops {

struct Ternary {
  torch::Tensor codes;  // [out, in] −1, 0, +1, in the dtype of the weight
  torch::Tensor scale;  // Δ, 0-dim, fp32 (fp64 for an fp64 weight)
};

// Δ = max(mean|W|, 1e-5), the sum in fp64. 0-dim, on W's device: nothing waits for the host.
torch::Tensor absmean(const torch::Tensor& weight);

// T = clamp(rint_even(W · (1/Δ)), −1, +1), with the fp32 reciprocal of Δ.
Ternary ternarize(const torch::Tensor& weight);

// The same piece by piece: Σ|W| of a part in fp64, Δ from the parts' sum, a part's codes from Δ.
torch::Tensor abs_sum(const torch::Tensor& part);
torch::Tensor absmean_of(const torch::Tensor& abs_sum, int64_t numel, torch::ScalarType dtype);
torch::Tensor codes_of(const torch::Tensor& part, const torch::Tensor& scale);

// Turns codes, in place, into a weight whose absmean returns exactly these codes and this scale:
// W = T·Δ/p, p the share of non-zeros, within an ulp (T·Δ itself would come back with 0.69 Δ).
// codes fp32, contiguous; scale 0-dim. Takes a few MB besides.
void master_from_codes_(torch::Tensor codes, const torch::Tensor& scale);

}  // namespace wf::ops

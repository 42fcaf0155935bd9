// The ternary formula (ternary/absmean.h) on tensors.
#pragma once
#include <torch/types.h>

namespace wf::ops {

struct Ternary {
  torch::Tensor codes;  // [out, in] −1, 0, +1, in the dtype of the weight
  torch::Tensor scale;  // Δ, 0-dim, fp32 (fp64 for an fp64 weight)
};

// fp32 on the CPU is exactly what the converter computes. A GPU, where nothing waits for the host,
// and fp64 repeat the formula in tensor operations; only the order of the sum is their own.
Ternary ternarize(const torch::Tensor& weight);

// wf::master_from_codes; codes fp32, contiguous, on the CPU; scale 0-dim.
void master_from_codes_(torch::Tensor codes, const torch::Tensor& scale);

}  // namespace wf::ops

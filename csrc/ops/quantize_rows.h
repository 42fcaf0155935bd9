// Per-token int8 quantisation of activations (BitNet b1.58): the rows that enter BitLinear.
#pragma once
#include <torch/types.h>

namespace wf::ops {

// Rows prepared once and shared by the matrices that read them (q, k, v; gate, up).
struct Rows {
  torch::Tensor
      source;  // [N, K] fp32 (fp64 in fp64 runs): what the gradient flows to, straight through
  torch::Tensor
      operand;  // [N, K] what the matmul reads: int8 codes as numbers, or the λ-blend of x and Q(x)
  torch::Tensor scale;  // [N, 1] s = 127/amax when operand holds codes; undefined otherwise
};

struct RowCodes {
  torch::Tensor codes;  // [N, K] −128..127, in x's dtype
  torch::Tensor scale;  // [N, 1] s; the dequantised value is codes / s
};

// a = max(max|x_row|, 1e-5), s = 127 / a, q = clamp(rint_even(x·s), −128, 127). x [N, K] fp32 or
// fp64.
RowCodes quantize_rows(const torch::Tensor& x);

// λ = 1: codes and scale. 0 < λ < 1: x + λ(q/s − x). λ = 0: x as it is. The operand has dtype
// `compute` (int8 codes are exact in bf16).
Rows prepare_rows(const torch::Tensor& x, double quant, torch::ScalarType compute);

}  // namespace wf::ops

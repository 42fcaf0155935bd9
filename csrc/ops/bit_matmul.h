// The matmul of BitLinear, with the straight-through estimator: gradients pass the quantisers as
// identity.
#pragma once
#include "ops/quantize_rows.h"

namespace wf::ops {

// A weight prepared once per optimizer step.
struct Columns {
  torch::Tensor
      operand;  // [out, in] ternary codes as numbers, or the λ-blend of W and Q(W); compute dtype
  torch::Tensor scale;  // Δ 0-dim when operand holds codes; undefined otherwise
};

// λ = 1: codes and Δ. 0 < λ < 1: W + λ(Δ·T − W). λ = 0: W. In dtype `compute`.
Columns prepare_columns(const torch::Tensor& weight, double quant, torch::ScalarType compute);

// y = acc / s · Δ + bias with acc = rows.operand · columns.operandᵀ accumulated in fp32 (exact for
// codes: |acc| ≤ 127·K < 2²⁴), in the operands' dtype. [N, out]. bias [out] or undefined. Backward,
// closed form: dX = dY·(Δ·T), dW = dYᵀ·(q/s), db = Σ dY; dX goes to rows.source, dW to weight.
torch::Tensor bit_matmul(const Rows& rows, const Columns& columns, const torch::Tensor& weight,
                         const torch::Tensor& bias);

}  // namespace wf::ops

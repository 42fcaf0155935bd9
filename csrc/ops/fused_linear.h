// Norm, quantiser and ternary product as one step. At λ = 1 on int8 tensor cores, where the
// normalised rows exist only as int8 codes; at λ < 1 in bf16, on rows and weights blended with
// their codes' values. The same formulas as rms_norm, quantize_rows and bit_matmul one after
// another (see cuda/kernels/rms_norm_quant.h and gemm_s8.h); gradients pass the quantisers as
// identity.
//
// Backward, with dY quantised by stochastic rounding where a product is int8:
//   dX = dY·(Δ·T)      int8: row codes of dY·Δ times T        else bf16(dY·Δ) times T, exact codes
//   dW = dYᵀ·(q/s)     int8: column codes of the row codes, s folded in, times q
//                                                             else dY times bf16(q/s)
#pragma once
#include <torch/types.h>

#include "ops/gated.h"
#include "ops/ternary_store.h"

namespace wf::ops {

// Where a micro-step's random bits come from: the run's seed, and a counter int32 [1] on the
// device.
struct Noise {
  uint64_t seed = 0;
  torch::Tensor counter;
};

// What a pass asks of the functions below.
struct FusedPass {
  // Of the activations; fp32 [1] on the device. Undefined at λ = 1; the groups then hold codes, and
  // blends otherwise.
  torch::Tensor lambda;
  Noise noise;
};

// The products of backward that use int8; forward always does.
struct Int8Backward {
  bool input = true;   // dX
  bool weight = true;  // dW; only with dX, whose codes it takes
};

// The int8 codes of a linear's output gradient, left by the kernel that computed the gradient, so
// that it is not read again: autograd carries the bf16 tensor, this travels beside it.
struct GradientCodes {
  torch::Tensor gradient;  // bf16 [N, out]: whose codes these are; see written_for()
  torch::Tensor codes;     // int8 [N, out], of the rows
  torch::Tensor scale;     // fp32 [N]
  // int32 [out], what the columns' values reach (cuda/kernels/quantize_gradient.h), and what the
  // kernel needs for it; may be undefined.
  torch::Tensor largest, workspace;
};

// A group of ternary matrices as the functions below use it, once in every pass. Borrows the group,
// which must outlive the backward pass.
struct FusedLinear : torch::CustomClassHolder {
  FusedLinear(const TernaryGroup& group, Int8Backward int8, uint32_t number)
      : group(group), int8(int8), number(number) {}
  const TernaryGroup& group;
  Int8Backward int8;
  uint32_t number;  // of the group in the model: tells its noise from the others'

  // Of the pass under way.
  torch::Tensor input_scale;  // s [N] of the rows that forward read
  GradientCodes handed;       // from the maker of the output's gradient to our backward
};
using FusedLinearPtr = c10::intrusive_ptr<FusedLinear>;

// The residual stream and what has still to be added to it (undefined: nothing).
struct Residual {
  torch::Tensor stream, delta;  // [N, D] bf16
  FusedLinearPtr made_by = {};  // the linear whose output delta is, for its gradient's codes
  torch::Tensor sum() const { return delta.defined() ? stream + delta : stream; }
};

struct ResidualAndRows {
  torch::Tensor stream;  // x + delta
  torch::Tensor y;
};

// y = linear(rms_norm(x + delta)) [N, Σ out]. N a multiple of 16. gain fp32 [D].
ResidualAndRows add_norm_linear(const Residual& in, const torch::Tensor& gain, double eps,
                                const FusedLinearPtr& linear, const FusedPass& pass);

// y = linear(rms_norm(act(gate)·up)), gate_up [N, 2F] with the gate's columns first, the output of
// `made_by`.
torch::Tensor glu_norm_linear(const torch::Tensor& gate_up, const FusedLinearPtr& made_by,
                              Activation activation, const torch::Tensor& gain, double eps,
                              const FusedLinearPtr& linear, const FusedPass& pass);

// rms_norm(x + delta) in bf16, nothing quantised: a model's last norm.
torch::Tensor add_norm(const Residual& in, const torch::Tensor& gain, double eps,
                       const Noise& noise);

}  // namespace wf::ops

// The products of a fused linear, forward and backward. Only for code under WF_CUDA.
#pragma once
#include "ops/gradient_codes.h"

namespace wf::ops {

// A norm's output as the products read it.
struct NormedRows {
  torch::Tensor rows;   // int8 codes [N, in], or their bf16 blend
  torch::Tensor scale;  // s [N]; undefined for a blend
};

// y = rows · weightᵀ [N, Σ out] bf16.
torch::Tensor forward_product(FusedLinear& linear, const NormedRows& in);

// One linear's backward: dY in, dX and the masters' gradients out.
class LinearBackward {
 public:
  // `blend`: the weight that forward read, undefined when it read codes.
  LinearBackward(FusedLinear& linear, const torch::Tensor& dy, const NormedRows& in,
                 const torch::Tensor& blend, const Noise& noise);

  torch::Tensor input() const;   // [N, in] bf16
  torch::Tensor weight() const;  // [Σ out, in] fp32

 private:
  void quantize_rows();
  torch::Tensor input_bf16() const;
  torch::Tensor weight_int8() const;
  torch::Tensor weight_bf16() const;
  int rows() const { return int(dy_.size(0)); }
  int width() const { return int(dy_.size(1)); }

  const FusedLinear& linear_;
  torch::Tensor dy_;  // see written_for()
  NormedRows in_;
  torch::Tensor blend_;
  const Noise& noise_;
  GradientCodes codes_;  // of dy_, where dX is int8
};

}  // namespace wf::ops

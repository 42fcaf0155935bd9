// What the fused head losses share: the gradient of logits = hidden · headᵀ, collected chunk by
// chunk.
#pragma once
#include <torch/types.h>

namespace wf::ops {

class HeadGradient {
 public:
  // Undefined gradients when `wanted` is false. `master` is the head as the optimizer holds it.
  HeadGradient(const torch::Tensor& hidden, const torch::Tensor& master, bool wanted);

  bool wanted() const { return hidden_gradient.defined(); }
  // dlogits [n, V] (fp32 or fp64) of the rows from `begin`; `head` is in hidden's dtype.
  void add(const torch::Tensor& dlogits, const torch::Tensor& hidden, const torch::Tensor& head,
           int64_t begin);

  torch::Tensor hidden_gradient;  // like hidden
  torch::Tensor head_gradient;    // like master
};

}  // namespace wf::ops

#pragma once
#include <torch/nn/module.h>
#include <torch/torch.h>

#include "nn/precision.h"
#include "ops/rms_norm.h"

namespace wf {

class RmsNorm : public torch::nn::Module {
 public:
  RmsNorm(int64_t width, double eps, Precision precision) : eps_(eps) {
    weight = register_parameter("weight", torch::ones({width}, precision.master));
  }
  // [..., width] of any float dtype -> the same shape in the master dtype, for the quantiser that
  // follows.
  torch::Tensor forward(const torch::Tensor& x) { return ops::rms_norm(x, weight, eps_); }

  torch::Tensor weight;

 private:
  double eps_;
};

}  // namespace wf

// Which number formats a model computes in.
#pragma once
#include <torch/types.h>

namespace wf {

struct Precision {
  torch::ScalarType master =
      torch::kFloat;  // parameters, norms, quantisers: fp32, or fp64 in exact comparisons
  torch::ScalarType compute =
      torch::kFloat;  // residual stream and matmul operands: fp32, bf16 or fp64
};

}  // namespace wf

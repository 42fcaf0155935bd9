// A linear layer whose weight is ternary and whose input is int8 per token when the pass says so.
#pragma once
#include <torch/nn/module.h>

#include "nn/pass.h"
#include "nn/precision.h"
#include "ops/bit_matmul.h"

namespace wf {

class BitLinear : public torch::nn::Module {
 public:
  // Parameters `weight` [out, in] and, if asked for, `bias` [out], both of the master dtype.
  BitLinear(int64_t in, int64_t out, bool has_bias, Precision precision);

  // rows [N, in], prepared once for all the layers that read them. -> [N, out], compute dtype.
  torch::Tensor forward(const ops::Rows& rows, const Pass& pass);

  torch::Tensor weight, bias;

 private:
  // The prepared weight changes when an optimizer has written to it or λ has moved: once per
  // optimizer step, not per micro-batch.
  const ops::Columns& columns(double quant);

  torch::ScalarType compute_;
  ops::Columns columns_;
  double prepared_quant_ = -1;
  uint32_t prepared_version_ = 0;
};

}  // namespace wf

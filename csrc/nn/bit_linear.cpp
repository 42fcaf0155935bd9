#include "nn/bit_linear.h"

#include <torch/torch.h>

namespace wf {

using torch::Tensor;

BitLinear::BitLinear(int64_t in, int64_t out, bool has_bias, Precision precision)
    : compute_(precision.compute) {
  weight = register_parameter("weight", torch::empty({out, in}, precision.master));
  if (has_bias) bias = register_parameter("bias", torch::empty({out}, precision.master));
}

const ops::Columns& BitLinear::columns(double quant) {
  const uint32_t version = weight._version();
  if (!columns_.operand.defined() || quant != prepared_quant_ || version != prepared_version_ ||
      columns_.operand.device() != weight.device()) {
    columns_ = ops::prepare_columns(weight, quant, compute_);
    prepared_quant_ = quant;
    prepared_version_ = version;
  }
  return columns_;
}

Tensor BitLinear::forward(const ops::Rows& rows, const Pass& pass) {
  // A full-precision operand is a plain cast: not worth keeping a second copy of the weight.
  const bool keep = pass.weight_quant > 0;
  return ops::bit_matmul(
      rows, keep ? columns(pass.weight_quant) : ops::prepare_columns(weight, 0, compute_), weight,
      bias);
}

}  // namespace wf

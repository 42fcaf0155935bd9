#include "ops/quantize_rows.h"

#include <torch/torch.h>

#include "base/error.h"

namespace wf::ops {

using torch::Tensor;

RowCodes quantize_rows(const Tensor& x) {
  if (x.scalar_type() != torch::kFloat && x.scalar_type() != torch::kDouble)
    fail(
        "quantize_rows: the rows are {}; they stay fp32 into the quantiser (bf16 changes 5 % of "
        "the codes)",
        c10::toString(x.scalar_type()));
  const torch::NoGradGuard no_grad;
  const Tensor amax =
      at::linalg_vector_norm(x, std::numeric_limits<double>::infinity(), {-1}, true);
  const Tensor scale = 127.0 / amax.clamp_min_(1e-5);
  return {(x * scale).round_().clamp_(-128, 127), scale};
}

Rows prepare_rows(const Tensor& x, double quant, torch::ScalarType compute) {
  const torch::NoGradGuard no_grad;
  if (quant == 0) return {x, x.detach().to(compute), {}};
  const RowCodes q = quantize_rows(x.detach());
  if (quant == 1) return {x, q.codes.to(compute), q.scale};
  return {x, torch::lerp(x.detach(), q.codes / q.scale, quant).to(compute), {}};
}

}  // namespace wf::ops

#include "ops/bit_matmul.h"

#include <torch/torch.h>

#include "ops/ternary.h"

namespace wf::ops {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// A·B with fp32 accumulation and an fp32 result, whatever the operands' dtype.
Tensor matmul_wide(const Tensor& a, const Tensor& b) {
  if (a.scalar_type() != torch::kBFloat16) return a.mm(b);
  if (a.is_cuda()) return at::mm(a, b, torch::kFloat);
  return a.to(torch::kFloat).mm(b.to(torch::kFloat));
}

struct BitMatmul : torch::autograd::Function<BitMatmul> {
  static Tensor forward(AutogradContext* ctx, const Tensor& source, const Tensor& weight,
                        const std::optional<Tensor>& bias, const Tensor& a,
                        const std::optional<Tensor>& a_scale, const Tensor& b,
                        const std::optional<Tensor>& b_scale) {
    ctx->save_for_backward({a, a_scale.value_or(Tensor()), b, b_scale.value_or(Tensor())});
    ctx->saved_data["source_dtype"] = source.scalar_type();
    ctx->saved_data["has_bias"] = bias.has_value();
    Tensor y = matmul_wide(a, b.t());
    if (a_scale) y.div_(*a_scale);
    if (b_scale) y.mul_(*b_scale);
    if (bias) y.add_(*bias);
    return y.to(a.scalar_type());
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &a = saved[0], &a_scale = saved[1], &b = saved[2], &b_scale = saved[3];
    const Tensor dy = grads[0];
    Tensor dx, dw, db;
    if (ctx->needs_input_grad(0)) {
      dx = matmul_wide(dy, b);
      if (b_scale.defined()) dx.mul_(b_scale);
      dx = dx.to(ctx->saved_data["source_dtype"].toScalarType());
    }
    // 1/s lies along the contraction, so it goes into dY's rows instead of the larger q.
    if (ctx->needs_input_grad(1))
      dw = matmul_wide((a_scale.defined() ? (dy / a_scale).to(dy.scalar_type()) : dy).t(), a);
    if (ctx->saved_data["has_bias"].toBool())
      db = dy.sum({0}, false, dy.scalar_type() == torch::kDouble ? torch::kDouble : torch::kFloat);
    return {dx, dw, db, {}, {}, {}, {}};
  }
};

}  // namespace

Columns prepare_columns(const Tensor& weight, double quant, torch::ScalarType compute) {
  const torch::NoGradGuard no_grad;
  if (quant == 0) return {weight.detach().to(compute), {}};
  const Ternary t = ternarize(weight.detach());
  if (quant == 1) return {t.codes.to(compute), t.scale};
  return {torch::lerp(weight.detach(), t.codes * t.scale, quant).to(compute), {}};
}

Tensor bit_matmul(const Rows& rows, const Columns& columns, const Tensor& weight,
                  const Tensor& bias) {
  const auto given = [](const Tensor& t) { return t.defined() ? std::optional(t) : std::nullopt; };
  return BitMatmul::apply(rows.source, weight, given(bias), rows.operand, given(rows.scale),
                          columns.operand, given(columns.scale));
}

}  // namespace wf::ops

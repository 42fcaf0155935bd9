#include "ops/rms_norm.h"

#include <torch/torch.h>

namespace wf::ops {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

Tensor widen(const Tensor& t) {
  return t.scalar_type() == torch::kDouble ? t : t.to(torch::kFloat);
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static Tensor forward(AutogradContext* ctx, const Tensor& h, const Tensor& gain, double eps) {
    const Tensor wide = widen(h);
    const Tensor rstd = wide.square().mean(-1, true).add_(eps).rsqrt_();
    ctx->save_for_backward({h, gain, rstd});
    return (wide * rstd).mul_(gain);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &h = saved[0], &gain = saved[1], &rstd = saved[2], &dx = grads[0];
    const Tensor normed = widen(h) * rstd;
    const int64_t width = h.size(-1);
    const Tensor dgain = (dx * normed).view({-1, width}).sum(0);
    const Tensor g = dx * gain;
    const Tensor mean = (g * normed).mean(-1, true);
    // dh = rstd·(g − n·mean(g·n)), n the normalised row
    return {torch::addcmul(g, normed, mean, -1).mul_(rstd).to(h.scalar_type()), dgain, {}};
  }
};

}  // namespace

Tensor rms_norm(const Tensor& h, const Tensor& gain, double eps) {
  return RmsNorm::apply(h, gain, eps);
}

}  // namespace wf::ops

#include "ops/rope.h"

#include <torch/torch.h>

#include <cmath>

namespace wf::ops {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

Tensor rotate(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const auto halves = x.chunk(2, -1);
  Tensor out = torch::empty_like(x);
  auto parts = out.chunk(2, -1);
  parts[0].copy_((halves[0] * cos).addcmul_(halves[1], sin, -1));
  parts[1].copy_((halves[1] * cos).addcmul_(halves[0], sin));
  return out;
}

struct Rope : torch::autograd::Function<Rope> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cos,
                        const Tensor& sin) {
    ctx->save_for_backward({cos, sin});
    return rotate(x, cos, sin);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {rotate(grads[0], saved[0], -saved[1]), {}, {}};
  }
};

}  // namespace

RopeTable make_rope_table(int64_t positions, int64_t head_dim, double theta,
                          const std::optional<RopeScaling>& scaling, torch::TensorOptions options) {
  const Tensor frequency = torch::empty({head_dim / 2}, torch::kDouble);
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const double plain = std::pow(theta, -2.0 * double(i) / double(head_dim));
    frequency[i] = scaling ? scaled_frequency(plain, *scaling) : plain;
  }
  const Tensor angle = torch::outer(torch::arange(positions, torch::kDouble), frequency);
  return {angle.cos().to(options), angle.sin().to(options)};
}

RopeTable rope_at(const RopeTable& table, const Tensor& positions) {
  return {table.cos.index({positions}).unsqueeze(2), table.sin.index({positions}).unsqueeze(2)};
}

Tensor rope(const Tensor& x, const RopeTable& at_positions) {
  return Rope::apply(x, at_positions.cos, at_positions.sin);
}

}  // namespace wf::ops

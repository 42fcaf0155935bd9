#include "ops/gated.h"

#include <torch/torch.h>

namespace wf::ops {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct Gated : torch::autograd::Function<Gated> {
  static Tensor forward(AutogradContext* ctx, const Tensor& gate, const Tensor& up,
                        int64_t activation) {
    ctx->save_for_backward({gate, up});
    ctx->saved_data["activation"] = activation;
    if (Activation(activation) == Activation::kSilu) return at::silu(gate).mul_(up);
    return at::relu(gate).square_().mul_(up);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &gate = saved[0], &up = saved[1], &dy = grads[0];
    if (Activation(ctx->saved_data["activation"].toInt()) == Activation::kSilu)
      return {at::silu_backward(dy * up, gate), at::silu(gate).mul_(dy), {}};
    const Tensor positive = at::relu(gate);
    return {(dy * up).mul_(positive).mul_(2), positive.square().mul_(dy), {}};
  }
};

}  // namespace

Tensor gated(const Tensor& gate, const Tensor& up, Activation activation) {
  return Gated::apply(gate, up, int64_t(activation));
}

}  // namespace wf::ops

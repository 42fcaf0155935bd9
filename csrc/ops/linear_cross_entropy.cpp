#include "ops/linear_cross_entropy.h"

#include <ATen/OpMathType.h>
#include <torch/torch.h>

#include "ops/head_gradient.h"

namespace wf::ops {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static Tensor forward(AutogradContext* ctx, const Tensor& hidden, const Tensor& master,
                        const Tensor& labels, int64_t valid, int64_t ignore, int64_t chunk_rows,
                        bool want_gradient) {
    const auto wide = at::toOpMathType(hidden.scalar_type());
    const Tensor head = master.to(hidden.scalar_type());
    const double share = 1.0 / double(std::max<int64_t>(valid, 1));
    Tensor loss = torch::zeros({}, hidden.options().dtype(wide));
    HeadGradient gradient(hidden, master, want_gradient);
    for (int64_t begin = 0; begin < hidden.size(0); begin += chunk_rows) {
      const int64_t end = std::min(begin + chunk_rows, hidden.size(0));
      const Tensor label = labels.slice(0, begin, end).unsqueeze(1);
      const Tensor keep = label.ne(ignore);
      const Tensor target = label.clamp_min(0);
      Tensor log_p = at::log_softmax(hidden.slice(0, begin, end).mm(head.t()), -1, wide);
      loss.sub_((log_p.gather(1, target) * keep).sum(), share);
      if (!gradient.wanted()) continue;
      // softmax − onehot, zero on ignored rows
      Tensor dlogits = log_p.exp_();
      dlogits.scatter_add_(1, target, torch::full_like(target, -1, dlogits.options()));
      gradient.add(dlogits.mul_(keep * share), hidden, head, begin);
    }
    ctx->save_for_backward({gradient.hidden_gradient, gradient.head_gradient});
    return loss;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {
        saved[0] * grads[0].to(saved[0].scalar_type()), saved[1] * grads[0], {}, {}, {}, {}, {}};
  }
};

}  // namespace

Tensor linear_cross_entropy(const Tensor& hidden, const Tensor& head, const Tensor& labels,
                            int64_t valid, int64_t ignore, int64_t chunk_rows) {
  // Gradients are off inside forward, so whether one is wanted is decided here.
  const bool want =
      torch::GradMode::is_enabled() && (hidden.requires_grad() || head.requires_grad());
  return LinearCrossEntropy::apply(hidden, head, labels, valid, ignore, chunk_rows, want);
}

}  // namespace wf::ops

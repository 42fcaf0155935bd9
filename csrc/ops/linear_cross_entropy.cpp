#include "ops/linear_cross_entropy.h"

#include <ATen/OpMathType.h>
#include <torch/torch.h>

#include "ops/head_gradient.h"

#ifdef WF_CUDA
#include "kernels/cross_entropy.h"
#include "ops/launch.h"
#endif

namespace wf::ops {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

#ifdef WF_CUDA

bool kernel_serves(const Tensor& hidden, const Tensor& head, int64_t ignore) {
  return kernels_run_on(hidden) && hidden.scalar_type() == torch::kBFloat16 &&
         head.size(0) % 8 == 0 && ignore == kernels::kIgnoredLabel;
}

// Softmax, loss and the logits' gradient in place, one pass over each chunk.
Tensor by_kernel(const Tensor& hidden, const Tensor& head, const Tensor& labels, double share,
                 int64_t chunk_rows, HeadGradient& gradient) {
  const int64_t rows = hidden.size(0), vocab = head.size(0);
  const auto wide = hidden.options().dtype(torch::kFloat);
  const Tensor scale = torch::full({}, share, wide), losses = torch::empty({rows}, wide);
  const Tensor label = labels.contiguous();
  Tensor buffer = torch::empty({std::min(chunk_rows, rows), vocab}, hidden.options());
  for (int64_t begin = 0; begin < rows; begin += chunk_rows) {
    const int64_t end = std::min(begin + chunk_rows, rows);
    Tensor logits = buffer.slice(0, 0, end - begin);
    at::mm_out(logits, hidden.slice(0, begin, end), head.t());
    launched(kernels::cross_entropy(bf16(logits), label.const_data_ptr<int64_t>() + begin,
                                    scale.const_data_ptr<float>(), losses.data_ptr<float>() + begin,
                                    int(end - begin), int(vocab), int(vocab), current_stream()),
             "cross_entropy");
    if (gradient.wanted()) gradient.add(logits, hidden, head, begin);
  }
  return losses.sum() * share;
}

#endif

struct LinearCrossEntropy : torch::autograd::Function<LinearCrossEntropy> {
  static Tensor forward(AutogradContext* ctx, const Tensor& hidden, const Tensor& master,
                        const Tensor& labels, int64_t valid, int64_t ignore, int64_t chunk_rows,
                        bool want_gradient) {
    const auto wide = at::toOpMathType(hidden.scalar_type());
    const Tensor head = master.to(hidden.scalar_type());
    const double share = 1.0 / double(std::max<int64_t>(valid, 1));
    Tensor loss = torch::zeros({}, hidden.options().dtype(wide));
    HeadGradient gradient(hidden, master, want_gradient);
#ifdef WF_CUDA
    if (kernel_serves(hidden, head, ignore)) {
      loss = by_kernel(hidden, head, labels, share, chunk_rows, gradient);
      ctx->save_for_backward({gradient.hidden_gradient, gradient.head_gradient});
      return loss;
    }
#endif
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

#include "ops/linear_kl.h"

#include <ATen/OpMathType.h>
#include <torch/torch.h>

#include "ops/head_gradient.h"

namespace wf::ops {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct LinearKl : torch::autograd::Function<LinearKl> {
  static Tensor forward(AutogradContext* ctx, const Tensor& hidden, const Tensor& master,
                        const Tensor& teacher_hidden, const Tensor& teacher_master,
                        const Tensor& labels, int64_t valid, int64_t ignore, double temperature,
                        int64_t chunk_rows, bool want_gradient) {
    const auto wide = at::toOpMathType(hidden.scalar_type());
    const Tensor head = master.to(hidden.scalar_type());
    const Tensor teacher_head = teacher_master.to(teacher_hidden.scalar_type());
    const double share = 1.0 / double(std::max<int64_t>(valid, 1));
    Tensor loss = torch::zeros({}, hidden.options().dtype(wide));
    HeadGradient gradient(hidden, master, want_gradient);
    const auto log_softmax = [&](const Tensor& x, const Tensor& weight) {
      return at::log_softmax(x.mm(weight.t()).to(wide).div_(temperature), -1);
    };
    for (int64_t begin = 0; begin < hidden.size(0); begin += chunk_rows) {
      const int64_t end = std::min(begin + chunk_rows, hidden.size(0));
      const Tensor keep = labels.slice(0, begin, end).ne(ignore).unsqueeze(1);
      Tensor log_q = log_softmax(hidden.slice(0, begin, end), head);
      const Tensor log_p = log_softmax(teacher_hidden.slice(0, begin, end), teacher_head).to(wide);
      const Tensor p = log_p.exp();
      loss.add_((p * (log_p - log_q) * keep).sum(), temperature * temperature * share);
      if (!gradient.wanted()) continue;
      // d/dlogits of T²·KL at logits/T is T·(q − p)
      gradient.add(log_q.exp_().sub_(p).mul_(keep * (temperature * share)), hidden, head, begin);
    }
    ctx->save_for_backward({gradient.hidden_gradient, gradient.head_gradient});
    return loss;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {saved[0] * grads[0].to(saved[0].scalar_type()),
            saved[1] * grads[0],
            {},
            {},
            {},
            {},
            {},
            {},
            {},
            {}};
  }
};

}  // namespace

Tensor linear_kl(const HeadInput& student, const HeadInput& teacher, const Tensor& labels,
                 int64_t valid, int64_t ignore, double temperature, int64_t chunk_rows) {
  const bool want = torch::GradMode::is_enabled() &&
                    (student.hidden.requires_grad() || student.head.requires_grad());
  return LinearKl::apply(student.hidden, student.head, teacher.hidden.detach(),
                         teacher.head.detach(), labels, valid, ignore, temperature, chunk_rows,
                         want);
}

}  // namespace wf::ops

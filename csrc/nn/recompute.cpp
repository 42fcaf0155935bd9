#include "nn/recompute.h"

#include <torch/torch.h>

namespace wf {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

struct Closure : torch::CustomClassHolder {
  explicit Closure(std::function<Tensor(const Tensor&)> f) : f(std::move(f)) {}
  std::function<Tensor(const Tensor&)> f;
};

struct Recompute : torch::autograd::Function<Recompute> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x,
                        const c10::intrusive_ptr<Closure>& closure) {
    ctx->save_for_backward({x});
    ctx->saved_data["closure"] = c10::IValue::make_capsule(closure);
    return closure->f(x);  // Function::apply has turned gradients off
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto capsule = ctx->saved_data["closure"].toCapsule();
    const torch::AutoGradMode grad_on(true);
    const Tensor x = ctx->get_saved_variables()[0].detach().requires_grad_();
    const Tensor y = static_cast<Closure*>(capsule.get())->f(x);
    torch::autograd::backward({y}, {grads[0]});
    return {x.grad(), {}};
  }
};

}  // namespace

Tensor recompute(const std::function<Tensor(const Tensor&)>& f, const Tensor& x) {
  // Autograd does not see what f trains: without a gradient for x it would leave f out.
  return Recompute::apply(x.requires_grad() ? x : x.detach().requires_grad_(),
                          c10::make_intrusive<Closure>(f));
}

}  // namespace wf

#include "optim/adamw.h"

#include <torch/torch.h>

namespace wf {

AdamW::AdamW(const Config& config, const std::vector<Parameter>& parameters)
    : AdamW(config, make_groups(parameters, config.roles)) {}

AdamW::AdamW(const Config& config, const std::vector<Group>& groups) : config_(config) {
  const torch::NoGradGuard no_grad;
  for (const Group& group : groups) {
    auto& slots = groups_.emplace_back(group.lr_multiplier, group.weight_decay).slots;
    for (const Parameter& p : group.parameters)
      slots.push_back({p, torch::zeros_like(p.value), torch::zeros_like(p.value),
                       torch::zeros({}, p.value.options().dtype(torch::kFloat32))});
  }
}

void AdamW::step(double lr) {
  const torch::NoGradGuard no_grad;
  for (const auto& [lr_multiplier, weight_decay, slots] : groups_) {
    std::vector<torch::Tensor> values, gradients, exp_avgs, exp_avg_sqs, steps;
    for (const Slot& slot : slots) {
      if (!slot.parameter.value.grad().defined()) continue;
      values.push_back(slot.parameter.value);
      gradients.push_back(slot.parameter.value.grad());
      exp_avgs.push_back(slot.exp_avg);
      exp_avg_sqs.push_back(slot.exp_avg_sq);
      steps.push_back(slot.step);
    }
    if (values.empty()) continue;
    at::_foreach_add_(steps, 1);
    at::_fused_adamw_(values, gradients, exp_avgs, exp_avg_sqs, /*max_exp_avg_sqs=*/{}, steps,
                      lr * lr_multiplier, config_.beta1, config_.beta2, weight_decay, config_.eps,
                      /*amsgrad=*/false, /*maximize=*/false);
    // The fused kernel does not: without it, whoever prepared a weight would keep the old one.
    for (const auto& value : values) torch::autograd::impl::bump_version(value);
  }
}

void AdamW::state(StateVisitor& visit) {
  for (auto& group : groups_)
    for (Slot& slot : group.slots) {
      visit(slot.parameter.name + ".exp_avg", slot.exp_avg);
      visit(slot.parameter.name + ".exp_avg_sq", slot.exp_avg_sq);
      visit(slot.parameter.name + ".step", slot.step);
    }
}

}  // namespace wf

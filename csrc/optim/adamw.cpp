#include "optim/adamw.h"

#include <torch/torch.h>

#ifdef WF_CUDA
#include "kernels/adamw.h"
#include "ops/launch.h"
#endif

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

void AdamW::step(double lr, const torch::Tensor& coefficient) {
  const torch::NoGradGuard no_grad;
  if (step_by_kernel(lr, coefficient)) return;
  std::optional<torch::Tensor> skip;  // 1 for a step that changes nothing
  if (coefficient.defined()) skip = coefficient.isfinite().logical_not().to(torch::kFloat);
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
    if (coefficient.defined()) at::_foreach_mul_(gradients, coefficient);
    at::_foreach_add_(steps, 1);
    at::_fused_adamw_(values, gradients, exp_avgs, exp_avg_sqs, /*max_exp_avg_sqs=*/{}, steps,
                      lr * lr_multiplier, config_.beta1, config_.beta2, weight_decay, config_.eps,
                      /*amsgrad=*/false, /*maximize=*/false, /*grad_scale=*/{}, skip);
    // The fused kernel does not: without it, whoever prepared a weight would keep the old one.
    for (const auto& value : values) torch::autograd::impl::bump_version(value);
  }
}

#ifdef WF_CUDA

// All parameters in one launch; the clip coefficient stays on the device. False where the kernel
// does not fit: no Hopper GPU, odd sizes, a parameter without a gradient, slots that are not in
// step.
bool AdamW::step_by_kernel(double lr, const torch::Tensor& coefficient) {
  std::vector<torch::Tensor> steps;
  std::vector<kernels::AdamWTensor> list;
  for (const auto& [lr_multiplier, weight_decay, slots] : groups_)
    for (const Slot& slot : slots) {
      const torch::Tensor &value = slot.parameter.value, &gradient = value.grad();
      if (!ops::kernels_run_on(value) || value.numel() % 4 != 0 || value.numel() > INT32_MAX ||
          !gradient.defined() || !gradient.is_contiguous() || value.scalar_type() != torch::kFloat)
        return false;
      steps.push_back(slot.step);
      list.push_back({.weight = value.data_ptr<float>(),
                      .m = slot.exp_avg.data_ptr<float>(),
                      .v = slot.exp_avg_sq.data_ptr<float>(),
                      .gradient = gradient.const_data_ptr<float>(),
                      .absolute_sums = nullptr,
                      .count = int(value.numel()),
                      .lr_factor = float(lr_multiplier),
                      .weight_decay = float(weight_decay),
                      .first_chunk = 0});
    }
  if (steps_ < 0) {  // the first step of this process: one wait for the device
    const torch::Tensor all = torch::stack(steps).cpu();
    if (all.ne(all[0]).any().item<bool>()) return false;
    steps_ = all[0].item<int64_t>();
  }
  ++steps_;
  const int chunks = kernels::plan_adamw(list.data(), int(list.size()));
  const auto to_device = [&](const void* data, size_t bytes) {
    torch::Tensor pinned =
        torch::empty({int64_t(bytes)}, torch::dtype(torch::kByte).pinned_memory(true));
    std::memcpy(pinned.data_ptr(), data, bytes);
    return pinned.to(steps[0].device(), /*non_blocking=*/true);
  };
  const kernels::AdamWStep now{float(lr), float(1 - std::pow(config_.beta1, double(steps_))),
                               float(std::sqrt(1 - std::pow(config_.beta2, double(steps_)))), 1};
  torch::Tensor step = to_device(&now, sizeof(now)).view(torch::kFloat);
  if (coefficient.defined()) step[3].copy_(coefficient);
  const torch::Tensor tensors = to_device(list.data(), list.size() * sizeof(list[0]));
  ops::launched(kernels::adamw(reinterpret_cast<const kernels::AdamWTensor*>(tensors.data_ptr()),
                               int(list.size()), chunks,
                               reinterpret_cast<const kernels::AdamWStep*>(step.data_ptr()),
                               float(config_.beta1), float(config_.beta2), float(config_.eps),
                               ops::current_stream()),
                "adamw");
  at::_foreach_add_(steps, 1);
  for (const auto& group : groups_)
    for (const Slot& slot : group.slots) torch::autograd::impl::bump_version(slot.parameter.value);
  return true;
}

#else

bool AdamW::step_by_kernel(double, const torch::Tensor&) { return false; }

#endif

void AdamW::state(StateVisitor& visit) {
  for (auto& group : groups_)
    for (Slot& slot : group.slots) {
      visit(slot.parameter.name + ".exp_avg", slot.exp_avg);
      visit(slot.parameter.name + ".exp_avg_sq", slot.exp_avg_sq);
      visit(slot.parameter.name + ".step", slot.step);
    }
}

}  // namespace wf

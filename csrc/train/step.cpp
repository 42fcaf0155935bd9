#include "train/step.h"

#include <torch/torch.h>

#include <cmath>

#include "base/error.h"
#include "parallel/buckets.h"
#include "train/signal.h"

namespace wf {

using torch::Tensor;

// Adds one micro-batch's gradients; returns the loss and its parts, each times `share`, as one
// tensor.
Tensor Step::backward(const Batch& batch, double share, const Progress& now, const Pass& pass,
                      std::vector<std::string>& names) {
  Trace target;
  if (players_.objective.needs_teacher()) {
    const torch::NoGradGuard no_grad;
    const Pass full{.taps = pass.taps, .weight_quant = 0, .activation_quant = 0};
    target = players_.teacher->forward(batch, full);
  }
  const Loss loss =
      players_.objective.loss(players_.student.forward(batch, pass), target, batch, now);
  (loss.total * share).backward();
  std::vector<Tensor> values{loss.total.detach()};
  names.clear();
  for (const auto& [name, value] : loss.parts) {
    names.push_back(name);
    values.push_back(value);
  }
  return torch::stack(values).to(torch::kDouble).mul_(share);
}

StepReport Step::run(const Progress& now, double lr, const Pass& pass) {
  // What has arrived by now, without waiting for the rest.
  if (halted_host_.defined() && *halted_host_.const_data_ptr<double>() >= 0) require_finite();
  std::vector<Batch> batches;
  // Valid labels, tokens and wishes to stop, summed over ranks in one message.
  Tensor counts = torch::zeros({3}, torch::kLong);
  auto* count = counts.data_ptr<int64_t>();
  for (int64_t i = 0; i < players_.accumulate; ++i) {
    const Batch& batch = batches.emplace_back(players_.data.next());
    count[0] += batch.valid_labels;
    count[1] += batch.tokens.numel();
  }
  count[2] = stop_requested();
  const torch::Device device = players_.parallel.device();
  if (players_.parallel.size() > 1) {
    counts = counts.to(device);
    players_.parallel.all_reduce_sum(counts);
    counts = counts.cpu();
    count = counts.data_ptr<int64_t>();
  }

  Tensor losses;
  std::vector<std::string> names;
  for (size_t i = 0; i < batches.size(); ++i) {
    const Batch& batch = batches[i];
    Pass numbered = pass;
    numbered.draw =
        uint32_t((now.step * players_.accumulate + int64_t(i)) * players_.parallel.size() +
                 players_.parallel.rank());
    // Every valid label of the step weighs the same, whichever micro-batch and rank it is in.
    const double share = double(batch.valid_labels) / double(std::max<int64_t>(count[0], 1));
    const Tensor part = backward(batch.to(device), share, now, numbered, names);
    losses = losses.defined() ? losses + part : part;
  }
  std::vector<Tensor> gradients;
  for (const auto& parameter : players_.parameters)
    if (parameter.value.grad().defined()) gradients.push_back(parameter.value.grad());
  all_reduce_gradients(players_.parallel, gradients);
  players_.parallel.all_reduce_sum(losses);
  Clip::Result clip = players_.clip.measure();
  const Tensor values = torch::cat({clip.norm.to(torch::kDouble).reshape({1}), losses});
  stop_if_not_finite(now, values, clip);
  players_.optimizer.step(lr, clip.coefficient);
  for (const auto& parameter : players_.parameters) parameter.value.mutable_grad().reset();
  return {.tokens = count[1], .stop = count[2] > 0, .values = values, .part_names = names};
}

// Decided on the device, before the update: the coefficient of a step that must not count is NaN.
void Step::stop_if_not_finite(const Progress& now, const Tensor& values, Clip::Result& clip) {
  const torch::NoGradGuard no_grad;
  const Tensor seen = torch::cat({values, clip.norms.to(torch::kDouble)});
  if (!halted_.defined()) {
    halted_ = torch::full({}, -1, values.options());
    halted_host_ =
        values.is_cuda() ? torch::full({}, -1, torch::dtype(torch::kDouble)).pin_memory() : halted_;
    culprit_ = torch::zeros_like(seen);
  }
  const Tensor first_bad =
      values.slice(0, 0, 2).isfinite().all().logical_not_().logical_and_(halted_ < 0);
  halted_.copy_(torch::where(first_bad, double(now.step), halted_));
  culprit_.copy_(torch::where(first_bad, seen, culprit_));
  clip.coefficient =
      torch::where(halted_ < 0, clip.coefficient, std::numeric_limits<float>::quiet_NaN());
  if (!halted_host_.is_same(halted_)) halted_host_.copy_(halted_, /*non_blocking=*/true);
}

StepNumbers Step::read(const StepReport& report) {
  require_finite();
  const Tensor host = report.values.cpu();
  const double* value = host.const_data_ptr<double>();
  StepNumbers out{.loss = value[1], .grad_norm = value[0], .parts = {}};
  for (size_t i = 0; i < report.part_names.size(); ++i)
    out.parts.emplace_back(report.part_names[i], value[2 + i]);
  return out;
}

void Step::require_finite() {
  if (!halted_.defined()) return;
  const double step = halted_.item<double>();
  if (step < 0) return;
  const Tensor seen = culprit_.cpu();
  const double* value = seen.const_data_ptr<double>();
  // The norms come last, one for each parameter with a gradient.
  std::string tensor = "none";
  std::vector<std::string> names;
  for (const auto& parameter : players_.parameters)
    if (parameter.value.requires_grad()) names.push_back(parameter.name);
  const double* norm = value + seen.numel() - int64_t(names.size());
  for (size_t i = names.size(); i-- > 0;)
    if (!std::isfinite(norm[i])) tensor = names[i];
  fail(
      "step {}: the loss is {} and the gradient norm {}; first tensor with a gradient that is not "
      "finite: {}. The weights have not been updated since",
      int64_t(step), value[1], value[0], tensor);
}

}  // namespace wf

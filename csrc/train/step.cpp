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
  counts = counts.to(device);
  players_.parallel.all_reduce_sum(counts);
  counts = counts.cpu();
  count = counts.data_ptr<int64_t>();

  Tensor losses;
  std::vector<std::string> names;
  for (const Batch& batch : batches) {
    // Every valid label of the step weighs the same, whichever micro-batch and rank it is in.
    const double share = double(batch.valid_labels) / double(std::max<int64_t>(count[0], 1));
    const Tensor part = backward(batch.to(device), share, now, pass, names);
    losses = losses.defined() ? losses + part : part;
  }
  std::vector<Tensor> gradients;
  for (const auto& parameter : players_.parameters)
    if (parameter.value.grad().defined()) gradients.push_back(parameter.value.grad());
  all_reduce_gradients(players_.parallel, gradients);
  players_.parallel.all_reduce_sum(losses);
  const Tensor norm = players_.clip.apply();

  // The one wait for the device: nothing may be updated from a loss or gradient that is not finite.
  const Tensor host = torch::cat({norm.to(torch::kDouble).reshape({1}), losses}).cpu();
  const double* value = host.const_data_ptr<double>();
  StepReport report{.loss = value[1],
                    .grad_norm = value[0],
                    .parts = {},
                    .tokens = count[1],
                    .stop = count[2] > 0};
  for (size_t i = 0; i < names.size(); ++i) report.parts.emplace_back(names[i], value[2 + i]);
  if (!std::isfinite(report.loss) || !std::isfinite(report.grad_norm))
    fail(
        "step {}: the loss is {} and the gradient norm {}; first tensor with a gradient that is "
        "not finite: {}. "
        "The weights were not updated",
        now.step, report.loss, report.grad_norm,
        first_non_finite(players_.parameters).value_or("none"));

  players_.optimizer.step(lr);
  for (const auto& parameter : players_.parameters) parameter.value.mutable_grad().reset();
  return report;
}

}  // namespace wf

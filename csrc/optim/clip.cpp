#include "optim/clip.h"

#include <torch/torch.h>

#include <algorithm>
#include <limits>

namespace wf {

namespace {

// Running statistics after ZClip (Kumar et al., arXiv 2504.02507): mean and variance are exact for
// the first 1 / (1 - kMemory) norms and exponential averages from there on; nothing is clipped by
// them before kObserved norms were seen.
constexpr double kMemory = 0.99;
constexpr int64_t kObserved = 25;

}  // namespace

Clip::Clip(const Config& config, const std::vector<Parameter>& parameters)
    : config_(config), parameters_(parameters) {
  const auto options = torch::dtype(torch::kFloat32).device(parameters.at(0).value.device());
  mean_ = torch::zeros({}, options);
  variance_ = torch::zeros({}, options);
}

Clip::Result Clip::measure() {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> gradients;
  for (const Parameter& p : parameters_)
    if (p.value.grad().defined()) gradients.push_back(p.value.grad());
  const auto norms = at::stack(at::_foreach_norm(gradients, 2));
  const auto norm = norms.norm();

  torch::Tensor ceiling = torch::full_like(norm, std::numeric_limits<double>::infinity());
  if (config_.z_score) {
    if (count_ >= kObserved) ceiling = mean_ + *config_.z_score * variance_.sqrt();
    observe(at::minimum(norm, ceiling));
  }
  if (config_.norm) ceiling = ceiling.clamp_max(*config_.norm);
  // 1e-6 keeps a norm of 0 from dividing; torch.nn.utils.clip_grad_norm_ has the same.
  const auto factor = (ceiling / (norm + 1e-6)).clamp_max(1);
  return {norm, at::where(norm.isfinite(), factor, norm), norms};
}

// West's incremental mean and variance, with a weight that never falls below 1 - kMemory.
void Clip::observe(const torch::Tensor& norm) {
  const double weight = std::max(1.0 / static_cast<double>(++count_), 1 - kMemory);
  const auto deviation = norm - mean_;
  mean_.add_(deviation, weight);
  variance_.add_(deviation.square(), weight).mul_(1 - weight);
}

void Clip::state(StateVisitor& visit) {
  visit("clip.mean", mean_);
  visit("clip.variance", variance_);
  visit("clip.count", count_);
}

}  // namespace wf

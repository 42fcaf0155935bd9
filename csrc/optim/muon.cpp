#include "optim/muon.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace wf {

namespace {

// The members of every group whose role is (or is not) kLinear.
std::vector<Group> with_linear(const std::vector<Group>& groups, bool linear) {
  std::vector<Group> kept;
  for (const Group& group : groups) {
    Group part{group.lr_multiplier, group.weight_decay, {}};
    for (const Parameter& p : group.parameters)
      if ((p.role == Role::kLinear) == linear) part.parameters.push_back(p);
    if (!part.parameters.empty()) kept.push_back(std::move(part));
  }
  return kept;
}

double adjusted(double lr, MuonLrAdjust adjust, const torch::Tensor& matrix) {
  const auto rows = static_cast<double>(matrix.size(0)),
             columns = static_cast<double>(matrix.size(1));
  if (adjust == MuonLrAdjust::kOriginal) return lr * std::sqrt(std::max(1.0, rows / columns));
  return lr * (0.2 * std::sqrt(std::max(rows, columns)));
}

}  // namespace

torch::Tensor orthogonalize(const torch::Tensor& matrix) {
  // Jordan's quintic, steep at 0 so that few steps suffice: p(x) = a x + b x³ + c x⁵.
  constexpr double a = 3.4445, b = -4.7750, c = 2.0315;
  constexpr int kSteps = 5;
  const bool tall =
      matrix.size(0) > matrix.size(1);  // the Gram matrix of the shorter side is smaller
  torch::Tensor x = matrix.to(torch::kBFloat16);
  if (tall) x = x.t();
  x = x / x.norm().clamp_min(1e-7);  // Frobenius: no singular value is above 1
  for (int i = 0; i < kSteps; ++i) {
    const auto gram = x.mm(x.t());
    const auto polynomial = at::addmm(gram, gram, gram, /*beta=*/b, /*alpha=*/c);
    x = at::addmm(x, polynomial, x, /*beta=*/a);
  }
  return tall ? x.t() : x;
}

Muon::Muon(const Config& config, const std::vector<Parameter>& parameters)
    : Muon(config, make_groups(parameters, config.roles)) {}

Muon::Muon(const Config& config, const std::vector<Group>& groups)
    : config_(config), adamw_(config.adamw(), with_linear(groups, false)) {
  const torch::NoGradGuard no_grad;
  for (const Group& group : with_linear(groups, true))
    for (const Parameter& p : group.parameters) {
      if (p.value.dim() != 2)
        fail("Muon updates matrices, but '{}' has {} dimensions", p.name, p.value.dim());
      matrices_.push_back({p, group.lr_multiplier, group.weight_decay, torch::zeros_like(p.value)});
    }
}

void Muon::step(double lr, const torch::Tensor& coefficient) {
  const torch::NoGradGuard no_grad;
  const double scale = coefficient.defined() ? coefficient.item<double>() : 1;
  if (!std::isfinite(scale)) return;
  adamw_.step(lr, coefficient);
  for (const Matrix& m : matrices_) {
    torch::Tensor value = m.parameter.value;
    if (!value.grad().defined()) continue;
    const torch::Tensor gradient = scale == 1 ? value.grad() : value.grad() * scale;
    m.momentum_buffer.lerp_(gradient, 1 - config_.momentum);
    const auto direction = orthogonalize(gradient.lerp(m.momentum_buffer, config_.momentum));
    const double rate = lr * m.lr_multiplier;
    value.mul_(1 - rate * m.weight_decay);  // by the rate before its adjustment, as AdamW does
    value.add_(direction, -adjusted(rate, config_.lr_adjust, value));
  }
}

void Muon::state(StateVisitor& visit) {
  for (Matrix& m : matrices_) visit(m.parameter.name + ".momentum_buffer", m.momentum_buffer);
  adamw_.state(visit);
}

}  // namespace wf

#include "exporter/logit_gap.h"

#include <torch/torch.h>

namespace wf {

using torch::Tensor;

LogitGap logit_gap(const Tensor& reference, const Tensor& other) {
  const auto centred = [](const Tensor& logits) {
    const Tensor exact = logits.to(torch::kDouble);
    return exact - exact.mean(1, /*keepdim=*/true);
  };
  const Tensor a = centred(reference), b = centred(other);
  const Tensor log_a = a.log_softmax(1), log_b = b.log_softmax(1);
  const Tensor choice = b.argmax(1, /*keepdim=*/true);
  const double spread = a.square().mean().sqrt().item<double>();
  return {.rel = ((b - a).norm() / a.norm()).item<double>(),
          .kl = (log_a.exp() * (log_a - log_b)).sum(1).mean().item<double>(),
          .top1 = (choice == a.argmax(1, true)).to(torch::kDouble).mean().item<double>(),
          .regret = (a.amax(1, true) - a.gather(1, choice)).mean().item<double>() / spread,
          .spread = spread};
}

double kl_of_relative_error(double rel, double spread) { return 0.5 * rel * rel * spread * spread; }

}  // namespace wf

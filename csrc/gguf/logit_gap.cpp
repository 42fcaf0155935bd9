#include "gguf/logit_gap.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace wf {
namespace {

struct Row {
  explicit Row(std::span<const float> logits) : centred(logits.begin(), logits.end()) {
    const double mean =
        std::accumulate(centred.begin(), centred.end(), 0.0) / double(centred.size());
    for (double& logit : centred) logit -= mean;
    best = std::size_t(std::ranges::max_element(centred) - centred.begin());
    double sum = 0;
    for (const double logit : centred) sum += std::exp(logit - centred[best]);
    log_sum = centred[best] + std::log(sum);
  }
  std::vector<double> centred;
  std::size_t best;
  double log_sum;  // of the exponentials
};

}  // namespace

LogitGap logit_gap(std::span<const float> reference, std::span<const float> other,
                   int64_t vocabulary) {
  const auto width = std::size_t(vocabulary), rows = reference.size() / width;
  double squares = 0, gap_squares = 0, kl = 0, same = 0, regret = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    const Row a(reference.subspan(i * width, width)), b(other.subspan(i * width, width));
    for (std::size_t k = 0; k < width; ++k) {
      const double x = a.centred[k], y = b.centred[k];
      squares += x * x;
      gap_squares += (y - x) * (y - x);
      kl += std::exp(x - a.log_sum) * ((x - a.log_sum) - (y - b.log_sum));
    }
    same += a.best == b.best;
    regret += a.centred[a.best] - a.centred[b.best];
  }
  const auto count = double(rows);
  const double spread = std::sqrt(squares / double(reference.size()));
  return {.rel = std::sqrt(gap_squares / squares),
          .kl = kl / count,
          .top1 = same / count,
          .regret = regret / count / spread,
          .spread = spread};
}

double kl_of_relative_error(double rel, double spread) { return 0.5 * rel * rel * spread * spread; }

}  // namespace wf

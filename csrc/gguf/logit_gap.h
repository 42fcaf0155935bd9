// How far two models' logits are apart, in measures that do not depend on how flat they are.
#pragma once
#include <cstdint>
#include <span>

namespace wf {

struct LogitGap {
  double rel;     // ‖other − reference‖ / ‖reference‖, each row centred (softmax ignores its mean)
  double kl;      // KL(reference ‖ other), nats a token
  double top1;    // share of rows with the same largest logit
  double regret;  // mean of reference's largest logit minus its logit of other's choice, in spreads
  double spread;  // standard deviation of the reference's centred logits
};

// Rows of `vocabulary` logits each, as many in both. Computed in fp64.
LogitGap logit_gap(std::span<const float> reference, std::span<const float> other,
                   int64_t vocabulary);

// To first order a relative error r of logits with spread σ gives KL = ½ (r·σ)²: the KL of an error
// r, whatever the model's spread.
double kl_of_relative_error(double rel, double spread);

}  // namespace wf

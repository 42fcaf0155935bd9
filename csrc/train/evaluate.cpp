#include "train/evaluate.h"

#include <torch/torch.h>

#include "ops/linear_cross_entropy.h"

namespace wf {

double evaluate(Decoder& model, HeldOut& held_out, double quant, ParallelContext& parallel) {
  const torch::NoGradGuard no_grad;
  const Pass pass{.taps = {}, .weight_quant = quant, .activation_quant = quant};
  torch::Tensor sums = torch::zeros({2}, torch::dtype(torch::kDouble).device(parallel.device()));
  held_out.rewind();
  while (auto batch = held_out.next()) {
    const Batch here = batch->to(parallel.device());
    const Trace trace = model.forward(here, pass);
    const auto loss =
        ops::linear_cross_entropy(trace.hidden.flatten(0, 1), trace.head, here.labels.flatten(),
                                  here.valid_labels, Batch::kIgnore);
    sums[0] += loss.to(torch::kDouble) * here.valid_labels;
    sums[1] += here.valid_labels;
  }
  parallel.all_reduce_sum(sums);
  return (sums[0] / sums[1]).item<double>();
}

}  // namespace wf

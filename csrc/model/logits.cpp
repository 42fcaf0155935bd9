#include "model/logits.h"

#include <torch/torch.h>

namespace wf {

using torch::Tensor;

Tensor logits_of(Decoder& model, const Tensor& tokens, double weight_quant,
                 double activation_quant) {
  const torch::NoGradGuard no_grad;
  const int64_t count = tokens.numel();
  Batch batch;
  batch.tokens = tokens.unsqueeze(0);
  batch.positions = torch::arange(count).unsqueeze(0);
  batch.starts = batch.device_starts = torch::tensor({int64_t{0}, count}, torch::kInt);
  batch.longest = count;
  const Trace trace = model.forward(
      batch, {.taps = {}, .weight_quant = weight_quant, .activation_quant = activation_quant});
  return trace.hidden.flatten(0, 1).mm(trace.head.t());
}

}  // namespace wf

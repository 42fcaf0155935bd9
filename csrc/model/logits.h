#pragma once
#include "nn/decoder.h"

namespace wf {

// The logits [T, V] after every token of one sequence, int64 [T]. `weight_quant`,
// `activation_quant`: λ. Without gradients.
torch::Tensor logits_of(Decoder& model, const torch::Tensor& tokens, double weight_quant,
                        double activation_quant);

}  // namespace wf

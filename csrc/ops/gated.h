// Gated activations of the feed-forward half: act(gate) ⊙ up. Shazeer, arXiv:2002.05202.
#pragma once
#include <torch/types.h>

#include "shape/activation.h"

namespace wf::ops {

// gate, up [..., F] of one dtype; the result keeps it. Saves gate and up only.
torch::Tensor gated(const torch::Tensor& gate, const torch::Tensor& up, Activation activation);

}  // namespace wf::ops

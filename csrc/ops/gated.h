// Gated activations of the feed-forward half: act(gate) ⊙ up. Shazeer, arXiv:2002.05202.
#pragma once
#include <torch/types.h>

namespace wf::ops {

enum class Activation { kSilu, kRelu2 };  // relu2(x) = max(x, 0)²

// gate, up [..., F] of one dtype; the result keeps it. Saves gate and up only.
torch::Tensor gated(const torch::Tensor& gate, const torch::Tensor& up, Activation activation);

}  // namespace wf::ops

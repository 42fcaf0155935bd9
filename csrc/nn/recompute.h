// Activation checkpointing: keep a function's input, run it again in backward.
// Chen, Xu, Zhang, Guestrin, arXiv:1604.06174.
#pragma once
#include <torch/types.h>

#include <functional>

namespace wf {

// f(x) without keeping anything but x. In backward f runs again with gradients on, so its
// parameters must be leaves.
torch::Tensor recompute(const std::function<torch::Tensor(const torch::Tensor&)>& f,
                        const torch::Tensor& x);

}  // namespace wf

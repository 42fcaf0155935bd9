// Root mean square normalisation: Zhang & Sennrich, arXiv:1910.07467.
#pragma once
#include <torch/types.h>

namespace wf::ops {

// x = (h·rstd)·γ with rstd = 1/sqrt(mean(h²) + eps), in that order, in fp32 (fp64 for fp64 input)
// whatever h's dtype: the result stays wide into the quantiser. h [..., K], gain [K] fp32. Saves h
// and rstd only.
torch::Tensor rms_norm(const torch::Tensor& h, const torch::Tensor& gain, double eps);

}  // namespace wf::ops

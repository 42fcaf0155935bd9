// Causal attention whose backward is our kernel. Only for code under WF_CUDA.
#pragma once
#include "ops/attention.h"

namespace wf::ops {

// bf16 on a Hopper GPU, heads 64 wide.
bool attention_kernel_serves(const torch::Tensor& q);

// As causal_attention. Forward is LibTorch's: cuDNN for plain rows, flash for packed documents.
// Backward gives the same bits in every run (kernels/attention_backward.h).
torch::Tensor attention_by_kernel(const torch::Tensor& q, const torch::Tensor& k,
                                  const torch::Tensor& v, const DocumentRanges& documents);

}  // namespace wf::ops

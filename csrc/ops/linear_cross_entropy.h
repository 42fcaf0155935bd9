// The language-model head and its loss together, chunk by chunk: the logits [N, V] are never
// stored.
#pragma once
#include <torch/types.h>

namespace wf::ops {

// Mean over the labels that are not `ignore` of −log softmax(hidden · headᵀ)[label]; 0-dim, fp32
// (fp64). hidden [N, D], head [V, D] (fp32 master; cast to hidden's dtype), labels [N] int64. The
// gradient is made in forward, one chunk of rows at a time, so backward only multiplies by the
// incoming scalar. `valid` is the number of labels that are not ignored (known to the data loader).
torch::Tensor linear_cross_entropy(const torch::Tensor& hidden, const torch::Tensor& head,
                                   const torch::Tensor& labels, int64_t valid, int64_t ignore,
                                   int64_t chunk_rows = 4096);

}  // namespace wf::ops

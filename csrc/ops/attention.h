// Causal attention that never crosses a document, and never holds a [T, T] mask.
#pragma once
#include <torch/types.h>

namespace wf::ops {

// Which tokens may see each other: the same document, and not the future. See data/batch.h.
struct DocumentRanges {
  torch::Tensor starts;         // int32 [D+1] on the CPU
  torch::Tensor device_starts;  // the same, on the device of q
  int64_t longest = 0;
  bool plain = true;  // one document per row
};

// softmax(q·kᵀ/√hd)·v. q [B, T, H, hd], k and v [B, T, KV, hd], H a multiple of KV. Result [B, T,
// H, hd]. Plain: scaled_dot_product_attention. Packed, on a GPU: flash with cumulative lengths; in
// fp32, or with heads that flash does not serve, LibTorch's memory-efficient kernels likewise; in
// fp64 a loop over the documents. On a CPU: a loop over the documents.
torch::Tensor causal_attention(const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const DocumentRanges& documents);

}  // namespace wf::ops

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

// What the backward of our own takes, see ops/attention_kernel.h.
constexpr int64_t kAttentionKernelHeadDim = 64;

// softmax(q·kᵀ/√hd)·v. q [B, T, H, hd], k and v [B, T, KV, hd], H a multiple of KV. Result [B, T,
// H, hd]. Plain: scaled_dot_product_attention. Packed, on a GPU: flash with cumulative lengths; in
// fp32, or with heads that flash does not serve, LibTorch's memory-efficient kernels likewise;
// else, and on a CPU, a loop over the documents. Where it serves, our own backward takes the place
// of LibTorch's.
torch::Tensor causal_attention(const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const DocumentRanges& documents);

}  // namespace wf::ops

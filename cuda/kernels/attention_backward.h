// Backward of causal attention over packed documents, heads of 64.
//
//   P = exp(S/8 - lse), S = q·kᵀ, where k's token is in q's document and not after it; else 0
//   dV = Pᵀ·dO, dS = P ∘ (dO·Vᵀ - rowsum(dO ∘ O)), dQ = dS·K / 8, dK = dSᵀ·Q / 8
//
// (Dao, FlashAttention-2, 2023, section 3.1.2.) Products in bf16 with fp32 sums; P and dS are
// rounded to bf16 before theirs. One pass sums over queries for dK and dV, another over keys for
// dQ: S is computed twice, nothing is added up in memory, and every run gives the same bits.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace wf::kernels {

constexpr int kAttentionHeadDim = 64;

// Value i of token n's head h lies at data[n * pitch + 64 * h + i]; pitch a multiple of 8, data
// aligned to 16 bytes.
struct AttentionHeads {
  const __nv_bfloat16* data;
  int64_t pitch;
};

struct AttentionBackward {
  AttentionHeads q, k, v, out, dout;
  // Natural logarithms of the softmax's sums as forward left them: of token n and head h at
  // lse[(n / lse_rows * heads + h) * lse_rows + n % lse_rows].
  const float* lse;
  int lse_rows;
  // Document d has the tokens from starts[d] to below starts[d + 1]; documents + 1 values, from 0
  // to `tokens`, on the device.
  const int* starts;
  int documents;
  __nv_bfloat16 *dq, *dk, *dv;  // [tokens, heads, 64] and twice [tokens, kv_heads, 64]
  int tokens, heads, kv_heads;  // heads a multiple of kv_heads
  int row_length;               // tokens of a row of the batch, which documents do not cross
};

size_t attention_backward_workspace_bytes(int tokens, int heads);

cudaError_t attention_backward(const AttentionBackward& p, void* workspace, cudaStream_t stream);

}  // namespace wf::kernels

// Rotary position embedding (arXiv:2104.09864) of the queries and keys of a fused projection, with
// or without an RMSNorm over each head before it, and both backward.
//
// Of a head x [head_dim], component i turns with component i + head_dim / 2 by the angle of its
// token's position (half-split pairs, as Hugging Face):
//
//   low'  = fma(-high, sin, low * cos),   high' = fma(low, sin, high * cos)      fp32, then bf16
//
// With norms, x is first (x * rstd) * gain, rstd = 1 / sqrt(mean(x^2) + eps) of the head, and stays
// in fp32 between norm and rotation. (A norm and a rotation as two operations on bf16 tensors round
// in between as well, so their results differ from these by that rounding.)
//
// Backward, fp32 throughout, one rounding at the end:
//
//   d     = the rotation with -sin of the incoming gradient
//   dx    = d                                                   without norms
//   n     = x * rstd,  g = d * gain,  c = mean(g * n)           with
//   dx    = rstd * (g - n * c),  dgain = sum over tokens and heads of d * n
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/quantize_gradient.h"

namespace wf::kernels {

// tokens = batch * sequence. head_dim: a multiple of 16 from 32 to 256. A row of the fused
// projection holds heads + 2 * kv_heads heads: the queries', the keys', the values'; at most 16384
// elements, counting every head with the next power of two of its head_dim.
struct QkvShape {
  int sequence, heads, kv_heads, head_dim;
};

// A gradient [batch, sequence, heads, head_dim] as attention left it. Strides in elements; head_dim
// is contiguous and every head 16-byte aligned.
struct HeadsView {
  const __nv_bfloat16* data;
  int64_t batch_stride, token_stride, head_stride;
};

// All below: qkv, dqkv bf16 [tokens, (heads + 2 * kv_heads) * head_dim], dense, 16-byte aligned;
// positions [tokens]; cos, sin fp32 [positions, head_dim / 2]; gains fp32 [head_dim]; rstd fp32
// [tokens, heads + kv_heads]. cudaErrorInvalidValue for shapes or alignments outside those.

// Rotates q and k of qkv in place; v is not touched.
cudaError_t qkv_rope(__nv_bfloat16* qkv, const int64_t* positions, const float* cos,
                     const float* sin, int tokens, QkvShape shape, cudaStream_t stream);

// The gradients of rotated q and k and of v -> dqkv, fused as qkv is and written throughout. codes:
// of dqkv as the projection's dY, their columns' ends between heads; {} for none. With codes dqkv
// may be null, here and below.
cudaError_t qkv_rope_backward(HeadsView dq, HeadsView dk, HeadsView dv, const int64_t* positions,
                              const float* cos, const float* sin, __nv_bfloat16* dqkv, int tokens,
                              QkvShape shape, const GradientCodes& codes, cudaStream_t stream);

// q [tokens, heads, head_dim] and k [tokens, kv_heads, head_dim], dense, normalised and rotated;
// qkv stays as it is.
cudaError_t qkv_norm_rope(const __nv_bfloat16* qkv, const float* q_gain, const float* k_gain,
                          float eps, const int64_t* positions, const float* cos, const float* sin,
                          __nv_bfloat16* q, __nv_bfloat16* k, float* rstd, int tokens,
                          QkvShape shape, cudaStream_t stream);

// dq_gain, dk_gain fp32 [head_dim] are written, not added to, their sums taken in a fixed order.
// workspace: qkv_norm_rope_backward_workspace_bytes() of device memory, contents free.
cudaError_t qkv_norm_rope_backward(HeadsView dq, HeadsView dk, HeadsView dv,
                                   const __nv_bfloat16* qkv, const float* rstd, const float* q_gain,
                                   const float* k_gain, const int64_t* positions, const float* cos,
                                   const float* sin, __nv_bfloat16* dqkv, float* dq_gain,
                                   float* dk_gain, void* workspace, int tokens, QkvShape shape,
                                   const GradientCodes& codes, cudaStream_t stream);

size_t qkv_norm_rope_backward_workspace_bytes();

}  // namespace wf::kernels

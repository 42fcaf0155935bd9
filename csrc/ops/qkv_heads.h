// From one fused product to rotated queries and keys and to values, and back.
#pragma once
#include <torch/types.h>

#include "ops/fused_linear.h"
#include "ops/rope.h"

namespace wf::ops {

struct HeadShape {
  int64_t rows, length;  // B, T
  int64_t heads, kv_heads, head_dim;
};

// Gains of the norms over each head of q and k, fp32 [head_dim]; undefined for none.
struct HeadNorm {
  torch::Tensor q_gain, k_gain;
  double eps = 0;
};

struct Heads {
  torch::Tensor q, k, v;  // [B, T, heads, head_dim] and twice [B, T, kv_heads, head_dim]
};

// qkv, the output of `made_by`, [B·T, (heads + 2·kv_heads)·head_dim] bf16, overwritten when there
// is no norm: its maker must not keep it. table fp32 [positions, head_dim/2]; positions [B, T]
// int64. GPU only.
Heads qkv_heads(const torch::Tensor& qkv, const FusedLinearPtr& made_by, const HeadShape& shape,
                const HeadNorm& norm, const RopeTable& table, const torch::Tensor& positions,
                const Noise& noise);

}  // namespace wf::ops

// What one forward pass is asked for. A value that travels with the call, never a global.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace wf {

// What a forward should leave behind for a distillation objective; empty for plain training.
struct Taps {
  std::vector<int64_t> layers;     // the residual stream after these layers
  std::vector<int64_t> attention;  // q, k, v of these layers, after q/k-norm and RoPE
};

struct Pass {
  Taps taps;
  // λ: 0 full precision .. 1 quantised (w' = w + λ(Q(w) − w), x likewise).
  double weight_quant = 1;
  double activation_quant = 1;
  bool recompute_blocks =
      false;  // activation checkpointing: keep each block's input, run it again in backward
};

struct AttentionTap {
  torch::Tensor q;     // [B, T, heads, head_dim]
  torch::Tensor k, v;  // [B, T, kv_heads, head_dim]
};

// What a forward leaves behind.
struct Trace {
  torch::Tensor hidden;  // [B, T, D], after the final norm
  torch::Tensor head;    // [V, D]; logits = hidden · headᵀ, taken chunk by chunk by the objective
  std::vector<torch::Tensor> layers;
  std::vector<AttentionTap> attention;
};

}  // namespace wf

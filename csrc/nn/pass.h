// What one forward pass is asked for. A value that travels with the call, never a global.
#pragma once
#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace wf {

// What a forward should leave behind for a distillation objective; empty for plain training.
struct Taps {
  std::vector<int64_t> layers;  // the residual stream after these layers
  std::vector<int64_t> blocks;  // what happens inside these layers
};

struct Pass {
  Taps taps;
  // λ: 0 full precision .. 1 quantised (w' = w + λ(Q(w) − w), x likewise).
  double weight_quant = 1;
  double activation_quant = 1;
  bool recompute_blocks =
      false;  // activation checkpointing: keep each block's input, run it again in backward
  // Random bits of stochastic rounding are a function of these two and of the tensor.
  uint64_t noise_seed = 0;  // the run's
  uint32_t draw = 0;        // numbers the micro-steps of all ranks
};

// The inside of one block.
struct BlockTap {
  torch::Tensor q;           // [B, T, heads, head_dim], after q/k-norm and RoPE
  torch::Tensor k, v;        // [B, T, kv_heads, head_dim]
  torch::Tensor o_input;     // [B·T, heads·head_dim], the heads' outputs before any sub-norm
  torch::Tensor down_input;  // [B·T, F], act(gate)·up before any sub-norm
};

// What a forward leaves behind.
struct Trace {
  torch::Tensor hidden;  // [B, T, D], after the final norm
  torch::Tensor head;    // [V, D]; logits = hidden · headᵀ, taken chunk by chunk by the objective
  std::vector<torch::Tensor> layers;
  std::vector<BlockTap> blocks;
};

}  // namespace wf

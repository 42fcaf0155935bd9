// The shape of a decoder-only transformer. Families (llama, qwen2, qwen3, bitnet) differ in these
// values only.
#pragma once
#include <cstdint>
#include <optional>

#include "shape/activation.h"
#include "shape/rope_scaling.h"

namespace wf {

struct DecoderConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;  // need not be hidden_size / num_heads
  int64_t max_positions = 0;
  double rms_norm_eps = 1e-6;  // of every norm, sub-norms included: GGUF has a single one
  double rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling;
  Activation activation = Activation::kSilu;
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  bool qk_norm = false;   // RMSNorm over each head of q and k, before RoPE
  bool sub_norm = false;  // SubLN: RMSNorm before o_proj and before down_proj
  bool tied_head = false;
  double initializer_range = 0.02;
};

}  // namespace wf

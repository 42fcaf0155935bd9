// The attention half of a block, without its residual: norm'd rows in, delta out.
#pragma once
#include "nn/bit_linear.h"
#include "nn/norm.h"
#include "ops/attention.h"
#include "ops/rope.h"
#include "shape/decoder_config.h"

namespace wf {

class Attention : public torch::nn::Module {
 public:
  Attention(const DecoderConfig& config, Precision precision);

  // x [B, T, D] the normalised residual stream in the master dtype -> [B, T, D] compute dtype.
  // `tap`, when not null, receives q, k, v and o_input.
  torch::Tensor forward(const torch::Tensor& x, const ops::RopeTable& rotation,
                        const ops::DocumentRanges& documents, const Pass& pass, BlockTap* tap);

  std::shared_ptr<BitLinear> q_proj, k_proj, v_proj, o_proj;
  std::shared_ptr<RmsNorm> q_norm, k_norm;  // null without qk_norm
  std::shared_ptr<RmsNorm> attn_sub_norm;   // null without sub_norm

 private:
  int64_t num_heads_, num_kv_heads_, head_dim_;
  Precision precision_;
};

}  // namespace wf

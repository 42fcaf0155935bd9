// One transformer block: x + attention(norm(x)), then x + feed_forward(norm(x)).
#pragma once
#include "nn/attention.h"
#include "nn/feed_forward.h"

namespace wf {

class Block : public torch::nn::Module {
 public:
  Block(const DecoderConfig& config, Precision precision);

  // x [B, T, D] compute dtype -> the same.
  torch::Tensor forward(const torch::Tensor& x, const ops::RopeTable& rotation,
                        const ops::DocumentRanges& documents, const Pass& pass, BlockTap* tap);

  std::shared_ptr<RmsNorm> input_layernorm, post_attention_layernorm;
  std::shared_ptr<Attention> self_attn;
  std::shared_ptr<FeedForward> mlp;
};

}  // namespace wf

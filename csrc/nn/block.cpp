#include "nn/block.h"

#include <torch/torch.h>

namespace wf {

using torch::Tensor;

Block::Block(const DecoderConfig& c, Precision precision)
    : input_layernorm(std::make_shared<RmsNorm>(c.hidden_size, c.rms_norm_eps, precision)),
      post_attention_layernorm(std::make_shared<RmsNorm>(c.hidden_size, c.rms_norm_eps, precision)),
      self_attn(std::make_shared<Attention>(c, precision)),
      mlp(std::make_shared<FeedForward>(c, precision)) {
  register_module("input_layernorm", input_layernorm);
  register_module("self_attn", self_attn);
  register_module("post_attention_layernorm", post_attention_layernorm);
  register_module("mlp", mlp);
}

Tensor Block::forward(const Tensor& x, const ops::RopeTable& rotation,
                      const ops::DocumentRanges& documents, const Pass& pass, BlockTap* tap) {
  const Tensor middle =
      x + self_attn->forward(input_layernorm->forward(x), rotation, documents, pass, tap);
  return middle + mlp->forward(post_attention_layernorm->forward(middle), pass, tap);
}

}  // namespace wf

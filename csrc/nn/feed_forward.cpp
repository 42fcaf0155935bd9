#include "nn/feed_forward.h"

#include <torch/torch.h>

namespace wf {

using torch::Tensor;

FeedForward::FeedForward(const DecoderConfig& c, Precision precision)
    : activation_(c.activation), precision_(precision) {
  const auto linear = [&](const char* name, int64_t in, int64_t out) {
    return register_module(name, std::make_shared<BitLinear>(in, out, c.mlp_bias, precision));
  };
  gate_proj = linear("gate_proj", c.hidden_size, c.intermediate_size);
  up_proj = linear("up_proj", c.hidden_size, c.intermediate_size);
  down_proj = linear("down_proj", c.intermediate_size, c.hidden_size);
  if (c.sub_norm)
    ffn_sub_norm = register_module(
        "ffn_sub_norm", std::make_shared<RmsNorm>(c.intermediate_size, c.rms_norm_eps, precision));
}

Tensor FeedForward::forward(const Tensor& x, const Pass& pass, BlockTap* tap) {
  const ops::Rows rows =
      ops::prepare_rows(x.flatten(0, 1), pass.activation_quant, precision_.compute);
  Tensor a = ops::gated(gate_proj->forward(rows, pass), up_proj->forward(rows, pass), activation_);
  if (tap) tap->down_input = a;
  a = ffn_sub_norm ? ffn_sub_norm->forward(a) : a.to(precision_.master);
  return down_proj->forward(ops::prepare_rows(a, pass.activation_quant, precision_.compute), pass)
      .view(x.sizes());
}

}  // namespace wf

#include "nn/attention.h"

#include <torch/torch.h>

namespace wf {

using torch::Tensor;

Attention::Attention(const DecoderConfig& c, Precision precision)
    : num_heads_(c.num_heads),
      num_kv_heads_(c.num_kv_heads),
      head_dim_(c.head_dim),
      precision_(precision) {
  const int64_t q_width = c.num_heads * c.head_dim, kv_width = c.num_kv_heads * c.head_dim;
  const auto linear = [&](const char* name, int64_t in, int64_t out, bool bias) {
    return register_module(name, std::make_shared<BitLinear>(in, out, bias, precision));
  };
  q_proj = linear("q_proj", c.hidden_size, q_width, c.qkv_bias);
  k_proj = linear("k_proj", c.hidden_size, kv_width, c.qkv_bias);
  v_proj = linear("v_proj", c.hidden_size, kv_width, c.qkv_bias);
  o_proj = linear("o_proj", q_width, c.hidden_size, c.o_bias);
  const auto norm = [&](const char* name, int64_t width) {
    return register_module(name, std::make_shared<RmsNorm>(width, c.rms_norm_eps, precision));
  };
  if (c.qk_norm) {
    q_norm = norm("q_norm", c.head_dim);
    k_norm = norm("k_norm", c.head_dim);
  }
  if (c.sub_norm) attn_sub_norm = norm("attn_sub_norm", q_width);
}

Tensor Attention::forward(const Tensor& x, const ops::RopeTable& rotation,
                          const ops::DocumentRanges& documents, const Pass& pass, BlockTap* tap) {
  const int64_t rows_b = x.size(0), rows_t = x.size(1);
  const ops::Rows rows =
      ops::prepare_rows(x.flatten(0, 1), pass.activation_quant, precision_.compute);
  const auto heads = [&](BitLinear& projection, int64_t count) {
    return projection.forward(rows, pass).view({rows_b, rows_t, count, head_dim_});
  };
  Tensor q = heads(*q_proj, num_heads_), k = heads(*k_proj, num_kv_heads_);
  const Tensor v = heads(*v_proj, num_kv_heads_);
  if (q_norm) {
    q = q_norm->forward(q).to(precision_.compute);
    k = k_norm->forward(k).to(precision_.compute);
  }
  q = ops::rope(q, rotation);
  k = ops::rope(k, rotation);

  Tensor mixed = ops::causal_attention(q, k, v, documents).reshape({rows_b * rows_t, -1});
  if (tap) *tap = {q, k, v, mixed, {}};
  mixed = attn_sub_norm ? attn_sub_norm->forward(mixed) : mixed.to(precision_.master);
  const Tensor out =
      o_proj->forward(ops::prepare_rows(mixed, pass.activation_quant, precision_.compute), pass);
  return out.view({rows_b, rows_t, -1});
}

}  // namespace wf

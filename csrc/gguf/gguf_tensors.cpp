#include "gguf/gguf_tensors.h"

#include <fmt/format.h>

namespace wf {

std::string ModelTensor::scale_name() const {
  return gguf_name.substr(0, gguf_name.rfind('.')) + ".scale";
}

std::vector<ModelTensor> model_tensors(const DecoderConfig& c) {
  const int64_t d = c.hidden_size, f = c.intermediate_size;
  const int64_t q = c.num_heads * c.head_dim, kv = c.num_kv_heads * c.head_dim;
  std::vector<ModelTensor> all;
  const auto vector = [&](std::string hf, std::string gguf, int64_t size, int64_t heads = 0) {
    all.push_back({std::move(hf), std::move(gguf), TensorKind::kVector, 1, size, heads});
  };
  all.push_back(
      {"model.embed_tokens.weight", "token_embd.weight", TensorKind::kEmbedding, c.vocab_size, d});
  for (int64_t layer = 0; layer < c.num_layers; ++layer) {
    const std::string hf = fmt::format("model.layers.{}.", layer);
    const std::string gguf = fmt::format("blk.{}.", layer);
    const auto norm = [&](const char* from, const char* to, int64_t size) {
      vector(hf + from + ".weight", gguf + to + ".weight", size);
    };
    const auto matrix = [&](const char* from, const char* to, int64_t rows, int64_t columns,
                            bool bias, int64_t heads = 0) {
      all.push_back({hf + from + ".weight", gguf + to + ".weight", TensorKind::kMatrix, rows,
                     columns, heads});
      if (bias) vector(hf + from + ".bias", gguf + to + ".bias", rows, heads);
    };
    norm("input_layernorm", "attn_norm", d);
    matrix("self_attn.q_proj", "attn_q", q, d, c.qkv_bias, c.num_heads);
    matrix("self_attn.k_proj", "attn_k", kv, d, c.qkv_bias, c.num_kv_heads);
    matrix("self_attn.v_proj", "attn_v", kv, d, c.qkv_bias);
    if (c.qk_norm) norm("self_attn.q_norm", "attn_q_norm", c.head_dim);
    if (c.qk_norm) norm("self_attn.k_norm", "attn_k_norm", c.head_dim);
    if (c.sub_norm) norm("self_attn.attn_sub_norm", "attn_sub_norm", q);
    matrix("self_attn.o_proj", "attn_output", d, q, c.o_bias);
    norm("post_attention_layernorm", "ffn_norm", d);
    matrix("mlp.gate_proj", "ffn_gate", f, d, c.mlp_bias);
    matrix("mlp.up_proj", "ffn_up", f, d, c.mlp_bias);
    if (c.sub_norm) norm("mlp.ffn_sub_norm", "ffn_sub_norm", f);
    matrix("mlp.down_proj", "ffn_down", d, f, c.mlp_bias);
  }
  vector("model.norm.weight", "output_norm.weight", d);
  if (!c.tied_head)
    all.push_back({"lm_head.weight", "output.weight", TensorKind::kEmbedding, c.vocab_size, d});
  return all;
}

int64_t interleaved_source(int64_t row, int64_t head_dim) {
  const int64_t in_head = row % head_dim;
  return row - in_head + in_head % 2 * (head_dim / 2) + in_head / 2;
}

}  // namespace wf

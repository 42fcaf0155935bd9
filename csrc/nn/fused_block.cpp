#include "nn/fused_block.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>

#include "ops/qkv_heads.h"

namespace wf {

using torch::Tensor;

namespace {

constexpr int64_t kSideMultiple = 16;   // of every ternary matrix
constexpr int64_t kWidestNorm = 8192;   // columns that a norm's backward holds
constexpr int64_t kWidestRows = 16384;  // columns of a quantised gradient

}  // namespace

std::string kernels_problem(const DecoderConfig& c) {
  if (!c.sub_norm) return "they need the norms of SubLN before o_proj and down_proj (run stage 1)";
  if (c.qkv_bias || c.o_bias || c.mlp_bias) return "they have no biases yet";
  const int64_t q = c.num_heads * c.head_dim, kv = c.num_kv_heads * c.head_dim;
  for (const int64_t side : {c.hidden_size, c.intermediate_size, q, kv})
    if (side % kSideMultiple != 0)
      return fmt::format("a width of {} is not a multiple of {}", side, kSideMultiple);
  if (c.head_dim < 32 || c.head_dim > 256 || c.head_dim % kSideMultiple != 0)
    return fmt::format("a head_dim of {} is not a multiple of 16 between 32 and 256", c.head_dim);
  const int64_t norm = std::max({c.hidden_size, c.intermediate_size, q});
  if (norm > kWidestNorm) return fmt::format("a norm of {} is wider than {}", norm, kWidestNorm);
  if (q + 2 * kv > kWidestRows)
    return fmt::format("q, k and v together are wider than {}", kWidestRows);
  return {};
}

void append_ternary_groups(const Block& block, std::vector<std::vector<Tensor>>& groups) {
  const Attention& attention = *block.self_attn;
  const FeedForward& mlp = *block.mlp;
  groups.push_back({attention.q_proj->weight, attention.k_proj->weight, attention.v_proj->weight});
  groups.push_back({attention.o_proj->weight});
  groups.push_back({mlp.gate_proj->weight, mlp.up_proj->weight});
  groups.push_back({mlp.down_proj->weight});
}

FusedBlock::FusedBlock(const Block& block, const DecoderConfig& config,
                       const ops::TernaryStore& store, int64_t index, const Int8& int8)
    : block_(&block), config_(&config) {
  const auto& exceptions = int8.bf16_weight_gradient_layers;
  const bool excepted = std::find(exceptions.begin(), exceptions.end(), index) != exceptions.end();
  const ops::Int8Backward products{.input = int8.input_gradient,
                                   .weight = int8.weight_gradient && !excepted};
  const auto linear = [&](int64_t number_in_block) {
    const auto number = 4 * index + number_in_block;
    return c10::make_intrusive<ops::FusedLinear>(store.groups()[size_t(number)], products,
                                                 uint32_t(number));
  };
  qkv_ = linear(0);
  o_ = linear(1);
  gate_up_ = linear(2);
  down_ = linear(3);
}

ops::Residual FusedBlock::forward(const ops::Residual& in, const ops::RopeTable& table,
                                  const Tensor& positions, const ops::DocumentRanges& documents,
                                  const ops::FusedPass& pass) const {
  const DecoderConfig& c = *config_;
  const Attention& attention = *block_->self_attn;
  const ops::HeadShape shape{in.stream.size(0), in.stream.size(1), c.num_heads, c.num_kv_heads,
                             c.head_dim};
  ops::HeadNorm head_norm;
  if (c.qk_norm) head_norm = {attention.q_norm->weight, attention.k_norm->weight, c.rms_norm_eps};

  const auto qkv = ops::add_norm_linear(
      {in.stream.flatten(0, 1), in.delta.defined() ? in.delta.flatten(0, 1) : Tensor(), in.made_by},
      block_->input_layernorm->weight, c.rms_norm_eps, qkv_, pass);
  const auto [q, k, v] =
      ops::qkv_heads(qkv.y, qkv_, shape, head_norm, table, positions, pass.noise);
  const Tensor mixed = ops::causal_attention(q, k, v, documents).reshape({qkv.y.size(0), -1});
  const auto o =
      ops::add_norm_linear({mixed, {}}, attention.attn_sub_norm->weight, c.rms_norm_eps, o_, pass);
  const auto gate_up =
      ops::add_norm_linear({qkv.stream, o.y, o_}, block_->post_attention_layernorm->weight,
                           c.rms_norm_eps, gate_up_, pass);
  const Tensor down =
      ops::glu_norm_linear(gate_up.y, gate_up_, c.activation, block_->mlp->ffn_sub_norm->weight,
                           c.rms_norm_eps, down_, pass);
  return {gate_up.stream.view(in.stream.sizes()), down.view(in.stream.sizes()), down_};
}

}  // namespace wf

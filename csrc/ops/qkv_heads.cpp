#include "ops/qkv_heads.h"

#include <torch/torch.h>

#include "base/error.h"

#ifdef WF_CUDA
#include "kernels/qkv_rope.h"
#include "ops/autograd.h"
#include "ops/gradient_codes.h"
#endif

namespace wf::ops {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

#ifdef WF_CUDA

namespace {

struct QkvHeads : torch::autograd::Function<QkvHeads> {
  static variable_list forward(AutogradContext* ctx, const Tensor& qkv,
                               const std::optional<Tensor>& q_gain,
                               const std::optional<Tensor>& k_gain, const Tensor& cos,
                               const Tensor& sin, const Tensor& positions, const HeadShape& shape,
                               double eps, const FusedLinearPtr& made_by, const Noise& noise) {
    remember(ctx, "made_by", made_by);
    remember_seed(ctx, noise);
    ctx->saved_data["shape"] =
        std::vector<int64_t>{shape.rows, shape.length, shape.heads, shape.kv_heads, shape.head_dim};
    const int tokens = int(qkv.size(0));
    const auto at = [&](const Tensor& all, int64_t first, int64_t heads) {
      return all.view({shape.rows, shape.length, -1})
          .narrow(2, first * shape.head_dim, heads * shape.head_dim)
          .view({shape.rows, shape.length, heads, shape.head_dim});
    };
    // No view of an input in autograd's sense: a tensor of its own on the same memory.
    const Tensor all = qkv.variable_data();
    if (!q_gain) {
      launched(kernels::qkv_rope(bf16(all), positions.const_data_ptr<int64_t>(),
                                 cos.const_data_ptr<float>(), sin.const_data_ptr<float>(), tokens,
                                 kernel_shape(shape), current_stream()),
               "qkv_rope");
      ctx->save_for_backward({cos, sin, positions, noise.counter});
      return {at(all, 0, shape.heads), at(all, shape.heads, shape.kv_heads),
              at(all, shape.heads + shape.kv_heads, shape.kv_heads)};
    }
    Tensor q = torch::empty({shape.rows, shape.length, shape.heads, shape.head_dim}, qkv.options());
    Tensor k =
        torch::empty({shape.rows, shape.length, shape.kv_heads, shape.head_dim}, qkv.options());
    Tensor rstd =
        torch::empty({tokens, shape.heads + shape.kv_heads}, qkv.options().dtype(torch::kFloat));
    launched(kernels::qkv_norm_rope(
                 bf16(all), q_gain->const_data_ptr<float>(), k_gain->const_data_ptr<float>(),
                 float(eps), positions.const_data_ptr<int64_t>(), cos.const_data_ptr<float>(),
                 sin.const_data_ptr<float>(), bf16(q), bf16(k), rstd.data_ptr<float>(), tokens,
                 kernel_shape(shape), current_stream()),
             "qkv_norm_rope");
    ctx->save_for_backward({cos, sin, positions, noise.counter, all, rstd, *q_gain, *k_gain});
    return {q, k, at(all, shape.heads + shape.kv_heads, shape.kv_heads)};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto list = ctx->saved_data["shape"].toIntVector();
    const HeadShape shape{list[0], list[1], list[2], list[3], list[4]};
    for (Tensor& grad : grads)
      if (grad.stride(3) != 1) grad = grad.contiguous();
    const auto view = [](const Tensor& t) {
      return kernels::HeadsView{bf16(t), t.stride(0), t.stride(1), t.stride(2)};
    };
    const int tokens = int(shape.rows * shape.length);
    const auto* positions = saved[2].const_data_ptr<int64_t>();
    const auto *cos = saved[0].const_data_ptr<float>(), *sin = saved[1].const_data_ptr<float>();
    FusedLinear* made_by = remembered(ctx, "made_by");
    const Noise noise = remembered_noise(ctx, saved[3]);
    const Tensor dqkv =
        written_for(made_by, {tokens, (shape.heads + 2 * shape.kv_heads) * shape.head_dim},
                    grads[0].options(), noise);
    const kernels::GradientCodes codes = hand_over(made_by, dqkv, noise);
    if (saved.size() == 4) {
      launched(kernels::qkv_rope_backward(view(grads[0]), view(grads[1]), view(grads[2]), positions,
                                          cos, sin, written_to(dqkv), tokens, kernel_shape(shape),
                                          codes, current_stream()),
               "qkv_rope_backward");
      return {dqkv, {}, {}, {}, {}, {}, {}, {}, {}, {}};
    }
    const Tensor &qkv = saved[4], &rstd = saved[5], &q_gain = saved[6], &k_gain = saved[7];
    Tensor dq_gain = torch::empty_like(q_gain), dk_gain = torch::empty_like(k_gain);
    Tensor workspace = torch::empty({int64_t(kernels::qkv_norm_rope_backward_workspace_bytes())},
                                    qkv.options().dtype(torch::kByte));
    launched(
        kernels::qkv_norm_rope_backward(
            view(grads[0]), view(grads[1]), view(grads[2]), bf16(qkv), rstd.const_data_ptr<float>(),
            q_gain.const_data_ptr<float>(), k_gain.const_data_ptr<float>(), positions, cos, sin,
            written_to(dqkv), dq_gain.data_ptr<float>(), dk_gain.data_ptr<float>(),
            workspace.data_ptr(), tokens, kernel_shape(shape), codes, current_stream()),
        "qkv_norm_rope_backward");
    return {dqkv, dq_gain, dk_gain, {}, {}, {}, {}, {}, {}, {}};
  }

  static kernels::QkvShape kernel_shape(const HeadShape& shape) {
    return {int(shape.length), int(shape.heads), int(shape.kv_heads), int(shape.head_dim)};
  }
};

}  // namespace

Heads qkv_heads(const Tensor& qkv, const FusedLinearPtr& made_by, const HeadShape& shape,
                const HeadNorm& norm, const RopeTable& table, const Tensor& positions,
                const Noise& noise) {
  const auto out = QkvHeads::apply(qkv, given(norm.q_gain), given(norm.k_gain), table.cos,
                                   table.sin, positions, shape, norm.eps, made_by, noise);
  return {out[0], out[1], out[2]};
}

#else

Heads qkv_heads(const Tensor&, const FusedLinearPtr&, const HeadShape&, const HeadNorm&,
                const RopeTable&, const Tensor&, const Noise&) {
  fail("this build has no CUDA kernels");
}

#endif

}  // namespace wf::ops

#ifdef WF_CUDA
#include "ops/attention_kernel.h"

#include <torch/torch.h>

#include "kernels/attention_backward.h"
#include "ops/launch.h"

namespace wf::ops {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

static_assert(kernels::kAttentionHeadDim == kAttentionKernelHeadDim);

// x [B, T, heads, 64] as rows of tokens that lie one pitch apart.
Tensor as_rows(const Tensor& x) {
  const bool even = x.stride(3) == 1 && x.stride(2) == kernels::kAttentionHeadDim &&
                    x.stride(1) % 8 == 0 && x.stride(0) == x.size(1) * x.stride(1) &&
                    reinterpret_cast<uintptr_t>(x.data_ptr()) % 16 == 0;
  return even ? x : x.contiguous();
}

kernels::AttentionHeads heads(const Tensor& x) { return {bf16(x), x.stride(1)}; }

struct AttentionByKernel : torch::autograd::Function<AttentionByKernel> {
  static Tensor forward(AutogradContext* ctx, const Tensor& q_in, const Tensor& k_in,
                        const Tensor& v_in, const Tensor& starts, int64_t longest, bool plain) {
    const Tensor q = as_rows(q_in), k = as_rows(k_in), v = as_rows(v_in);
    Tensor out, lse;  // lse: [B, heads, T], or [heads, B·T] of packed documents
    if (plain) {
      const auto all = at::_scaled_dot_product_cudnn_attention(
          q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), {}, /*compute_log_sumexp=*/true,
          /*dropout_p=*/0.0, /*is_causal=*/true);
      out = as_rows(std::get<0>(all).transpose(1, 2)), lse = std::get<1>(all).contiguous();
    } else {
      const auto all =
          at::_flash_attention_forward(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), starts,
                                       starts, longest, longest, 0.0, true, false);
      out = std::get<0>(all).view(q.sizes()), lse = std::get<1>(all).contiguous();
    }
    ctx->save_for_backward({q, k, v, out, lse, starts});
    ctx->saved_data["plain"] = plain;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &lse = saved[4],
                 &starts = saved[5];
    const Tensor dout = as_rows(grads[0]);
    const auto like = [](const Tensor& x) { return torch::empty(x.sizes(), x.options()); };
    const Tensor dq = like(q), dk = like(k), dv = like(v);
    const int64_t length = q.size(1), tokens = q.size(0) * length;
    kernels::AttentionBackward p = {};
    p.q = heads(q), p.k = heads(k), p.v = heads(v), p.out = heads(out), p.dout = heads(dout);
    p.lse = lse.const_data_ptr<float>();
    p.lse_rows = int(ctx->saved_data["plain"].toBool() ? length : tokens);
    p.starts = starts.const_data_ptr<int>(), p.documents = int(starts.numel()) - 1;
    p.dq = bf16(dq), p.dk = bf16(dk), p.dv = bf16(dv);
    p.tokens = int(tokens), p.row_length = int(length);
    p.heads = int(q.size(2)), p.kv_heads = int(k.size(2));
    const Tensor workspace =
        torch::empty({int64_t(kernels::attention_backward_workspace_bytes(p.tokens, p.heads))},
                     q.options().dtype(torch::kByte));
    launched(kernels::attention_backward(p, workspace.data_ptr(), current_stream()),
             "attention_backward");
    return {dq, dk, dv, {}, {}, {}};
  }
};

}  // namespace

bool attention_kernel_serves(const Tensor& q) {
  return kernels_run_on(q) && q.scalar_type() == torch::kBFloat16 &&
         q.size(3) == kernels::kAttentionHeadDim;
}

Tensor attention_by_kernel(const Tensor& q, const Tensor& k, const Tensor& v,
                           const DocumentRanges& documents) {
  return AttentionByKernel::apply(q, k, v, documents.device_starts, documents.longest,
                                  documents.plain);
}

}  // namespace wf::ops
#endif

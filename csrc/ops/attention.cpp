#include "ops/attention.h"

#include <ATen/OpMathType.h>
#include <torch/torch.h>

#include <cmath>

#include "base/error.h"

#ifdef WF_CUDA
#include "ops/attention_kernel.h"
#endif

namespace wf::ops {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// [B, T, KV, hd] -> [B, T, H, hd]: each key/value head serves H/KV query heads.
Tensor repeat_heads(const Tensor& x, int64_t heads) {
  const int64_t groups = heads / x.size(2);
  if (groups == 1) return x;
  return x.unsqueeze(3)
      .expand({-1, -1, -1, groups, -1})
      .reshape({x.size(0), x.size(1), heads, x.size(3)});
}

// The documents of a packed batch one after another, on views of the flattened rows: [1, H, t, hd]
// each.
struct DocumentLoop : torch::autograd::Function<DocumentLoop> {
  static Tensor document(const Tensor& x, int64_t begin, int64_t end) {  // x [N, H, hd]
    return x.slice(0, begin, end).transpose(0, 1).unsqueeze(0);
  }

  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& starts) {
    Tensor out = torch::empty_like(q);
    Tensor log_sum =
        torch::empty({q.size(0), q.size(1)}, q.options().dtype(at::toOpMathType(q.scalar_type())));
    const auto* at = starts.const_data_ptr<int32_t>();
    for (int64_t d = 0; d + 1 < starts.numel(); ++d) {
      auto [o, lse] = at::_scaled_dot_product_flash_attention_for_cpu(
          document(q, at[d], at[d + 1]), document(k, at[d], at[d + 1]),
          document(v, at[d], at[d + 1]), 0.0, true);
      document(out, at[d], at[d + 1]).copy_(o);
      log_sum.slice(0, at[d], at[d + 1]).copy_(lse.squeeze(0).t());
    }
    ctx->save_for_backward({q, k, v, starts, out, log_sum});
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &starts = saved[3], &out = saved[4],
                 &log_sum = saved[5];
    const Tensor dout = grads[0].contiguous();
    Tensor dq = torch::empty_like(q), dk = torch::empty_like(k), dv = torch::empty_like(v);
    const auto* at = starts.const_data_ptr<int32_t>();
    for (int64_t d = 0; d + 1 < starts.numel(); ++d) {
      const int64_t b = at[d], e = at[d + 1];
      const Tensor lse = log_sum.slice(0, b, e).t().unsqueeze(0);
      auto [gq, gk, gv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          document(dout, b, e), document(q, b, e), document(k, b, e), document(v, b, e),
          document(out, b, e), lse, 0.0, true);
      document(dq, b, e).copy_(gq);
      document(dk, b, e).copy_(gk);
      document(dv, b, e).copy_(gv);
    }
    return {dq, dk, dv, {}};
  }
};

// What follows takes the flattened rows of a packed batch on a GPU: q, k and v [N, heads, hd].

// Flash attention wants 16-bit numbers and heads it has been compiled for.
bool flash_serves(const Tensor& q) {
  const bool narrow = q.scalar_type() == torch::kBFloat16 || q.scalar_type() == torch::kHalf;
  return narrow && q.size(-1) % 8 == 0 && q.size(-1) <= 256;
}

// The memory-efficient kernels know no fp64 and load 16 bytes at a time.
bool memory_efficient_serves(const Tensor& q) {
  return q.scalar_type() != torch::kDouble && q.size(-1) * q.element_size() % 16 == 0;
}

Tensor flash(const Tensor& q, const Tensor& k, const Tensor& v, const DocumentRanges& documents) {
  const auto out =
      at::_flash_attention_forward(q, k, v, documents.device_starts, documents.device_starts,
                                   documents.longest, documents.longest, 0.0, true, false);
  return std::get<0>(out);
}

Tensor memory_efficient(const Tensor& q, const Tensor& k, const Tensor& v,
                        const DocumentRanges& documents) {
  constexpr int64_t kCausal = 1;  // from the upper left corner
  const auto out = at::_efficient_attention_forward(
      q.unsqueeze(0), repeat_heads(k.unsqueeze(0), q.size(1)),
      repeat_heads(v.unsqueeze(0), q.size(1)), {}, documents.device_starts, documents.device_starts,
      documents.longest, documents.longest, 0.0, kCausal,
      /*compute_log_sumexp=*/true);
  return std::get<0>(out).squeeze(0);
}

// For what no kernel of unequal lengths takes.
Tensor one_by_one(const Tensor& q, const Tensor& k, const Tensor& v,
                  const DocumentRanges& documents) {
  const auto* at = documents.starts.const_data_ptr<int32_t>();
  std::vector<Tensor> out;
  for (int64_t d = 0; d + 1 < documents.starts.numel(); ++d) {
    const auto document = [&](const Tensor& x) {
      return DocumentLoop::document(x, at[d], at[d + 1]);
    };
    out.push_back(at::scaled_dot_product_attention(document(q), document(k), document(v), {}, 0.0,
                                                   true, std::nullopt, /*enable_gqa=*/true)
                      .squeeze(0)
                      .transpose(0, 1));
  }
  return torch::cat(out);
}

}  // namespace

Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const DocumentRanges& documents) {
  const int64_t heads = q.size(2);
#ifdef WF_CUDA
  if (attention_kernel_serves(q)) return attention_by_kernel(q, k, v, documents);
#endif
  if (documents.plain) {
    // On a GPU only the 16-bit kernels know groups; the others would fall back on a matrix of all
    // scores.
    const bool repeat = q.is_cuda() && !flash_serves(q);
    const auto out = at::scaled_dot_product_attention(
        q.transpose(1, 2), (repeat ? repeat_heads(k, heads) : k).transpose(1, 2),
        (repeat ? repeat_heads(v, heads) : v).transpose(1, 2), {}, 0.0, true, std::nullopt,
        /*enable_gqa=*/!repeat && heads != k.size(2));
    return out.transpose(1, 2);
  }
  if (q.is_cuda()) {
    const auto serve = flash_serves(q)              ? flash
                       : memory_efficient_serves(q) ? memory_efficient
                                                    : one_by_one;
    return serve(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), documents).view(q.sizes());
  }
  const auto out = DocumentLoop::apply(q.flatten(0, 1), repeat_heads(k, heads).flatten(0, 1),
                                       repeat_heads(v, heads).flatten(0, 1), documents.starts);
  return out.view(q.sizes());
}

}  // namespace wf::ops

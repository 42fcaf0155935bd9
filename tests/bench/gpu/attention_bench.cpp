// The backward of causal attention: ours beside what LibTorch takes (cuDNN for plain rows, flash
// for packed documents), interleaved in one run, at the shapes of the models whose heads are 64
// wide.
#include <ATen/cuda/CUDAContext.h>
#include <torch/torch.h>

#include <cstdio>

#include "kernels/attention_backward.h"
#include "timing.h"

namespace {

using namespace wf::bench;
using torch::Tensor;

struct Shape {
  const char* name;
  int rows, length, heads, kv_heads, documents;  // documents a row
};

const __nv_bfloat16* bf16(const Tensor& t) {
  return static_cast<const __nv_bfloat16*>(t.const_data_ptr());
}

void measure(Timer& timer, const Shape& s) {
  constexpr int kDim = 64;
  const int64_t tokens = int64_t(s.rows) * s.length, width = (s.heads + 2 * s.kv_heads) * kDim;
  const auto options = torch::dtype(torch::kBFloat16).device(torch::kCUDA);
  const Tensor qkv = torch::randn({tokens, width}, options);
  const auto part = [&](int first, int heads) {
    return qkv.narrow(1, first * kDim, heads * kDim).view({s.rows, s.length, heads, kDim});
  };
  const Tensor q = part(0, s.heads), k = part(s.heads, s.kv_heads),
               v = part(s.heads + s.kv_heads, s.kv_heads);
  const Tensor dout = torch::randn({s.rows, s.length, s.heads, kDim}, options);
  std::vector<int> host;
  const int each = s.length / s.documents;
  for (int i = 0; i <= s.rows * s.documents; ++i) host.push_back(i * each);
  const Tensor starts = torch::tensor(host, torch::kInt).to(torch::kCUDA);
  Tensor out, lse;
  std::function<void(int)> theirs;
  if (s.documents == 1) {
    const auto t = [](const Tensor& x) { return x.transpose(1, 2); };
    const auto f = at::_scaled_dot_product_cudnn_attention(t(q), t(k), t(v), {}, true, 0.0, true);
    out = std::get<0>(f).transpose(1, 2), lse = std::get<1>(f);
    theirs = [=](int) {
      at::_scaled_dot_product_cudnn_attention_backward(
          t(dout), t(q), t(k), t(v), std::get<0>(f), std::get<1>(f), std::get<6>(f), std::get<7>(f),
          {}, std::get<2>(f), std::get<3>(f), s.length, s.length, 0.0, true);
    };
  } else {
    const auto t = [](const Tensor& x) { return x.flatten(0, 1); };
    const auto f = at::_flash_attention_forward(t(q), t(k), t(v), starts, starts, each, each, 0.0,
                                                true, false);
    out = std::get<0>(f).view(q.sizes()), lse = std::get<1>(f);
    theirs = [=](int) {
      at::_flash_attention_backward(t(dout), t(q), t(k), t(v), std::get<0>(f), lse, starts, starts,
                                    each, each, 0.0, true, std::get<2>(f), std::get<3>(f));
    };
  }
  Tensor dq = torch::empty({tokens, s.heads, kDim}, options),
         dk = torch::empty({tokens, s.kv_heads, kDim}, options), dv = torch::empty_like(dk);
  const Tensor workspace =
      torch::empty({int64_t(wf::kernels::attention_backward_workspace_bytes(int(tokens), s.heads))},
                   options.dtype(torch::kByte));
  const auto of = [](Tensor& t) { return static_cast<__nv_bfloat16*>(t.data_ptr()); };
  const Tensor flat = out.contiguous();
  wf::kernels::AttentionBackward p = {};
  p.q = {bf16(q), width}, p.k = {bf16(k), width}, p.v = {bf16(v), width};
  p.out = {bf16(flat), s.heads * kDim}, p.dout = {bf16(dout), s.heads * kDim};
  p.lse = lse.const_data_ptr<float>();
  p.lse_rows = s.documents == 1 ? s.length : int(tokens);
  p.starts = starts.const_data_ptr<int>(), p.documents = int(host.size()) - 1;
  p.dq = of(dq), p.dk = of(dk), p.dv = of(dv);
  p.tokens = int(tokens), p.heads = s.heads, p.kv_heads = s.kv_heads, p.row_length = s.length;
  const auto ours = [=](int) {
    check(wf::kernels::attention_backward(p, workspace.data_ptr(),
                                          at::cuda::getCurrentCUDAStream().stream()));
  };
  std::vector<double> own, peer;
  for (int round = 0; round < 5; ++round) {
    own.push_back(timer.median(ours, 5, 20));
    peer.push_back(timer.median(theirs, 5, 20));
  }
  std::sort(own.begin(), own.end());
  std::sort(peer.begin(), peer.end());
  // Five products of the forward's two, half of each masked.
  const double flops = 10.0 * s.rows * s.heads * kDim * s.length * s.length / s.documents / 2;
  std::printf("| %s | %.3f | %.0f | %.3f | %.0f | %.2f |\n", s.name, own[2], flops / own[2] * 1e-9,
              peer[2], flops / peer[2] * 1e-9, peer[2] / own[2]);
}

}  // namespace

int main() {
  print_card();
  const torch::NoGradGuard no_grad;
  at::globalContext().setSDPUseCuDNN(true);
  Timer timer;
  std::printf(
      "| shape | ms | TFLOP/s | LibTorch ms | TFLOP/s | ratio |\n|---|---|---|---|---|---|\n");
  measure(timer, {"SmolLM2-135M, batch 32 x 2048", 32, 2048, 9, 3, 1});
  measure(timer, {"SmolLM2-135M, 8 documents a row", 32, 2048, 9, 3, 8});
  measure(timer, {"SmolLM2-360M, batch 16 x 2048", 16, 2048, 15, 5, 1});
  measure(timer, {"SmolLM2-135M, batch 8 x 8192", 8, 8192, 9, 3, 1});
}

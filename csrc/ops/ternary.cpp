#include "ops/ternary.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include "base/error.h"
#include "ternary/absmean.h"

namespace wf::ops {

using torch::Tensor;

namespace {

// On Torch's threads, which training has.
void on_torch_threads(int64_t count, const std::function<void(int64_t)>& action) {
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) action(i);
  });
}

Ternary ternarize_on_cpu(const Tensor& weight) {
  constexpr int64_t kPart = 1 << 15;
  const Tensor plain = weight.contiguous();
  const std::span values(plain.const_data_ptr<float>(), std::size_t(plain.numel()));
  const StoredTensor stored{Dtype::kF32, plain.sizes().vec(), std::as_bytes(values), nullptr};
  const float scale = absmean_of(abs_sum(stored, on_torch_threads), plain.numel());
  Tensor codes = torch::empty_like(plain);
  float* out = codes.mutable_data_ptr<float>();
  at::parallel_for(0, plain.numel(), kPart, [&](int64_t begin, int64_t end) {
    ternary_codes(values.subspan(std::size_t(begin), std::size_t(end - begin)), scale, out + begin);
  });
  return {codes, torch::scalar_tensor(scale)};
}

}  // namespace

Ternary ternarize(const Tensor& weight) {
  if (weight.scalar_type() != torch::kFloat && weight.scalar_type() != torch::kDouble)
    fail(
        "ternarize: the weight is {}; codes are defined on fp32 masters (bf16 changes 0.2 % of "
        "them)",
        c10::toString(weight.scalar_type()));
  const torch::NoGradGuard no_grad;
  if (weight.is_cpu() && weight.scalar_type() == torch::kFloat) return ternarize_on_cpu(weight);
  const Tensor mean = weight.abs().sum(torch::kDouble) / double(weight.numel());
  const Tensor scale = mean.to(weight.scalar_type()).clamp_min(double(kLeastScale));
  return {(weight * scale.reciprocal()).round_().clamp_(-1, 1), scale};
}

void master_from_codes_(Tensor codes, const Tensor& scale) {
  master_from_codes({codes.mutable_data_ptr<float>(), std::size_t(codes.numel())},
                    scale.item<float>());
}

}  // namespace wf::ops

// What a kernel that writes the output gradient of a FusedLinear leaves for it. Only for code under
// WF_CUDA.
#pragma once
#include "kernels/quantize_gradient.h"
#include "ops/fused_linear.h"
#include "ops/launch.h"

namespace wf::ops {

inline kernels::ColumnScales column_scales(const TernaryGroup& group) {
  kernels::ColumnScales out;
  out.count = int(group.ends.size());
  for (int i = 0; i < out.count; ++i) {
    out.end[i] = int(group.ends[i]);
    out.scale[i] = group.deltas.const_data_ptr<float>() + i;
  }
  return out;
}

// A linear's two streams of noise: for the rows' codes of its gradient and for the columns'.
enum class NoiseOf : uint32_t { kRows = 0, kColumns = 1 };
inline kernels::Noise noise_stream(const FusedLinear& linear, const Noise& noise, NoiseOf of) {
  return {noise.seed, reinterpret_cast<const uint32_t*>(noise.counter.const_data_ptr<int32_t>()),
          2 * linear.number + uint32_t(of)};
}

// Whether the maker of the linear's output gradient leaves its codes: not for null, for products in
// bf16, or without noise to round with (λ < 1).
inline bool wants_codes(const FusedLinear* linear, const Noise& noise) {
  return linear && linear->int8.input && noise.counter.defined();
}

// The tensor that autograd carries for an output gradient [N, out] that `linear` alone reads. Where
// its codes suffice the values are not written: then it is one NaN, repeated without memory, which
// shows in everything computed of it.
inline torch::Tensor written_for(const FusedLinear* linear, at::IntArrayRef size,
                                 const torch::TensorOptions& options, const Noise& noise) {
  if (!wants_codes(linear, noise) || !linear->int8.weight) return torch::empty(size, options);
  return torch::full({1, 1}, NAN, options).expand(size);
}
// Where a kernel writes the values of such a tensor; null for one that is repeated.
inline auto* written_to(const torch::Tensor& gradient) {
  return gradient.stride(1) != 0 ? bf16(gradient) : nullptr;
}

// Buffers for the codes of `gradient` [N, out], which the kernel about to be launched computes;
// handed to `linear`.
inline kernels::GradientCodes hand_over(FusedLinear* linear, const torch::Tensor& gradient,
                                        const Noise& noise) {
  if (!wants_codes(linear, noise)) return {};
  GradientCodes& handed = linear->handed;
  handed.gradient = gradient;
  handed.codes = torch::empty(gradient.sizes(), gradient.options().dtype(torch::kChar));
  handed.scale = torch::empty({gradient.size(0)}, gradient.options().dtype(torch::kFloat));
  kernels::GradientCodes out{};
  out.columns = column_scales(linear->group);
  out.noise = noise_stream(*linear, noise, NoiseOf::kRows);
  out.codes = handed.codes.data_ptr<int8_t>();
  out.scale = handed.scale.data_ptr<float>();
  if (linear->int8.weight) {
    handed.largest = torch::empty({gradient.size(1)}, gradient.options().dtype(torch::kInt));
    out.input_scale = linear->input_scale.const_data_ptr<float>();
    out.largest = reinterpret_cast<uint32_t*>(handed.largest.data_ptr<int32_t>());
    handed.workspace = torch::empty({int64_t(kernels::gradient_codes_workspace_bytes())},
                                    gradient.options().dtype(torch::kByte));
    out.workspace = handed.workspace.data_ptr();
  }
  return out;
}

}  // namespace wf::ops

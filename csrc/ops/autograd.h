// What custom autograd functions take and keep besides tensors.
#pragma once
#include <torch/csrc/autograd/custom_function.h>

#include "ops/fused_linear.h"

namespace wf::ops {

// An argument that autograd may leave out.
inline std::optional<torch::Tensor> given(const torch::Tensor& t) {
  return t.defined() ? std::optional(t) : std::nullopt;
}

inline void remember(torch::autograd::AutogradContext* ctx, const char* key,
                     const FusedLinearPtr& linear) {
  if (linear) ctx->saved_data[key] = c10::IValue::make_capsule(linear);
}
// Null when none was remembered.
inline FusedLinear* remembered(torch::autograd::AutogradContext* ctx, const char* key) {
  const c10::IValue& value = ctx->saved_data[key];
  return value.isCapsule() ? static_cast<FusedLinear*>(value.toCapsule().get()) : nullptr;
}

// The counter is a tensor, hence among the saved ones.
inline void remember_seed(torch::autograd::AutogradContext* ctx, const Noise& noise) {
  ctx->saved_data["seed"] = int64_t(noise.seed);
}
inline Noise remembered_noise(torch::autograd::AutogradContext* ctx, const torch::Tensor& counter) {
  return {uint64_t(ctx->saved_data["seed"].toInt()), counter};
}

}  // namespace wf::ops

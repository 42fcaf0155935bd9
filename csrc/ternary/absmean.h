// THE ternary formula. The converter calls it here; training and the exporters through
// ops/ternary.h, which adds what a GPU and fp64 need.
// Source: BitNet b1.58 (arXiv:2402.17764); one Δ per logical matrix, absmean, round half to even.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <span>

#include "formats/stored_tensor.h"

namespace wf {

// Runs action(0), ..., action(count − 1) on the caller's threads.
using ParallelFor = std::function<void(int64_t count, const std::function<void(int64_t)>& action)>;

// Σ|W| in fp64, of any floating-point type. The order of the sum depends on nothing but the number
// of weights, so the same weights give the same bits on any threads, vectors and types.
double abs_sum(const StoredTensor& weight, const ParallelFor& parallel_for);

// Δ = max(mean|W|, 1e-5); not finite when a weight is not.
inline constexpr float kLeastScale = 1e-5F;
inline float absmean_of(double abs_sum, int64_t numel) {
  const auto mean = float(abs_sum / double(numel));
  return mean < kLeastScale ? kLeastScale : mean;
}

// T = clamp(rint_even(W · (1/Δ)), −1, +1), with the fp32 reciprocal of Δ.
inline float ternary_code(float weight, float reciprocal) {
  return std::clamp(std::nearbyint(weight * reciprocal), -1.0F, 1.0F);
}

// The codes of weights of any floating-point type but F64, by Δ. As ternary_code never falls while
// |W| grows, they are found by comparing |W| with the largest magnitude whose code is 0.
void ternary_codes(const StoredTensor& weights, float scale, int8_t* out);
void ternary_codes(std::span<const float> weights, float scale, float* out);

// The same of weights that are −s, 0 and s: their signs.
void sign_codes(const StoredTensor& weights, int8_t* out);

// The one magnitude that all weights which are not zero have; 0 when there are several or none. Any
// floating-point type but F64.
float only_magnitude(const StoredTensor& weights);

// Turns codes, in place, into a weight whose absmean is exactly `scale` and whose codes are these:
// W = T·Δ/p, p the share of non-zeros, within an ulp (T·Δ itself would come back with 0.69 Δ). All
// zeros stay: they have no scale to keep.
void master_from_codes(std::span<float> codes, float scale);

}  // namespace wf

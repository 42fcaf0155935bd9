// int8 codes by stochastic rounding, see kernels/quantize_gradient.h for the formulas.
#pragma once

#include "device/philox.cuh"
#include "device/quantize.cuh"
#include "kernels/quantize_gradient.h"

namespace wf::kernels {

// Largest magnitude of eight bf16 values, a NaN above all: as unsigned integers, magnitudes ascend
// like the values and NaNs come after infinity.
__device__ __forceinline__ float largest_magnitude(uint4 v) {
  constexpr uint32_t kMagnitudes = 0x7fff7fffu;
  const uint32_t pair = __vmaxu2(__vmaxu2(v.x & kMagnitudes, v.y & kMagnitudes),
                                 __vmaxu2(v.z & kMagnitudes, v.w & kMagnitudes));
  return __uint_as_float(max(pair << 16, pair & 0xffff0000u));
}

// A NaN fails the comparison as an infinity does.
__device__ __forceinline__ float gradient_scale(float largest) {
  return largest < INFINITY ? __fdiv_rn(127.0f, fmaxf(largest, 1e-30f)) : NAN;
}

// What rounds the codes of one tensor in one step.
class StochasticRounding {
 public:
  __device__ explicit StochasticRounding(const Noise& noise)
      : key_(static_cast<uint32_t>(noise.seed) ^ noise.tensor * 0x9E3779B9u),
        step_(*noise.step + static_cast<uint32_t>(noise.seed >> 32) * 0x85EBCA6Bu) {}

  // Of x * factor, |x * factor| <= 127, for the eight consecutive elements that begin at 8 *
  // vector.
  __device__ __forceinline__ uint2 codes(const float (&x)[8], float factor, uint32_t vector) const {
    const float factors[8] = {factor, factor, factor, factor, factor, factor, factor, factor};
    return codes(x, factors, vector);
  }

  // With a factor for each element. The sum below is, doubled, 2^23 (for the exponent's sake) +
  // 2^22 (for negative values) + T, hence in its third byte T's integer part plus 128, to which k
  // carries and from which 128 more wraps off.
  __device__ __forceinline__ uint2 codes(const float (&x)[8], const float (&factor)[8],
                                         uint32_t vector) const {
    const uint2 random = philox(key_, {vector, step_});
    const uint32_t words[2] = {random.x, random.y};
    uint32_t sum[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t window = i % 4 | (i + 1) % 4 << 4 | 0x5400;
      const uint32_t k = __byte_perm(words[i / 4], 0x80, window);  // and 128 in the third byte
      const float t = fmaf(x[i], factor[i] * 32768.0f, 12582912.0f);
      sum[i] = (__float_as_uint(t) << 1) + k;
    }
    return {third_bytes(sum[0], sum[1], sum[2], sum[3]),
            third_bytes(sum[4], sum[5], sum[6], sum[7])};
  }

 private:
  __device__ static uint32_t third_bytes(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    return __byte_perm(__byte_perm(a, b, 0x0062), __byte_perm(c, d, 0x0062), 0x5410);
  }

  uint32_t key_, step_;
};

}  // namespace wf::kernels

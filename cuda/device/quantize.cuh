// The activation quantiser, in the one spelling that every kernel uses:
//   a = max(max|x_row|, 1e-5),  s = 127 / a (IEEE),  code = rint_even(fl(x * s)) in [-127, 127].
#pragma once

#include <stdint.h>

#include "device/row_reduce.cuh"

namespace wf::kernels {

__device__ __forceinline__ float quantize_scale(float largest) {
  return __fdiv_rn(127.0f, max_or_nan(largest, 1e-5f));
}

// rint_even(t) in the low byte. Adding 1.5 * 2^23 rounds to an integer, ties to even, and leaves it
// in the low bits in two's complement: exact for |t| < 2^22.
__device__ __forceinline__ uint32_t round_to_code(float t) {
  return __float_as_uint(__fadd_rn(t, 12582912.0f));
}

// |x * s| <= 127 up to rounding, so no clamp is needed.
__device__ __forceinline__ uint32_t quantize(float x, float s) {
  return round_to_code(__fmul_rn(x, s));
}

__device__ __forceinline__ uint32_t pack_codes(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return __byte_perm(__byte_perm(a, b, 0x0040), __byte_perm(c, d, 0x0040), 0x5410);
}

__device__ __forceinline__ uint2 quantize_vector(const float* x, float s) {
  return {pack_codes(quantize(x[0], s), quantize(x[1], s), quantize(x[2], s), quantize(x[3], s)),
          pack_codes(quantize(x[4], s), quantize(x[5], s), quantize(x[6], s), quantize(x[7], s))};
}

__device__ __forceinline__ uint2 load_codes(const int8_t* from) {
  return *reinterpret_cast<const uint2*>(from);
}

// Eight codes as fp32, exactly: a code plus 128 in the low byte of 2^23.
__device__ __forceinline__ void unpack_codes(uint2 codes, float (&x)[8]) {
  const uint32_t words[2] = {codes.x ^ 0x80808080u, codes.y ^ 0x80808080u};
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const uint32_t bits = __byte_perm(words[i / 4], 0x4b000000u, 0x7440 + i % 4);
    x[i] = __fadd_rn(__uint_as_float(bits), -8388736.0f);
  }
}

// code / s as an IEEE division rounds it, given inverse = 1 / s so rounded: the quotient's
// remainder is exact, and one step with it rounds correctly (Markstein, IBM J. Res. Dev. 34
// (1990)).
__device__ __forceinline__ float divide(float code, float s, float inverse) {
  const float quotient = __fmul_rn(code, inverse);
  return fmaf(fmaf(-quotient, s, code), inverse, quotient);
}

}  // namespace wf::kernels

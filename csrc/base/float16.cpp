#include "base/float16.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cstddef>

#include "base/simd.h"

namespace wf {
namespace {

WF_LOOP void read_bfloat16(const uint16_t* in, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = bfloat16_to_float(in[i]);
}

WF_LOOP void write_bfloat16(const float* in, std::size_t count, uint16_t* out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = float_to_bfloat16(in[i]);
}

// How many of the first elements were converted: all whole groups of 8, where there is F16C.
WF_AVX2 std::size_t read_half_f16c(std::span<const uint16_t> in, float* out) {
  std::size_t i = 0;
#if defined(__x86_64__)
  for (; i + 8 <= in.size(); i += 8)
    _mm256_storeu_ps(
        out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in.data() + i))));
#endif
  return i;
}

WF_AVX2 std::size_t write_half_f16c(std::span<const float> in, uint16_t* out) {
  std::size_t i = 0;
#if defined(__x86_64__)
  for (; i + 8 <= in.size(); i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(in.data() + i), _MM_FROUND_TO_NEAREST_INT));
#endif
  return i;
}

}  // namespace

void half_to_float(std::span<const uint16_t> in, float* out) {
  for (std::size_t i = wide_vectors() ? read_half_f16c(in, out) : 0; i < in.size(); ++i)
    out[i] = half_to_float(in[i]);
}

void float_to_half(std::span<const float> in, uint16_t* out) {
  for (std::size_t i = wide_vectors() ? write_half_f16c(in, out) : 0; i < in.size(); ++i)
    out[i] = float_to_half(in[i]);
}

void bfloat16_to_float(std::span<const uint16_t> in, float* out) {
  vectorised<read_bfloat16>(in.data(), in.size(), out);
}

void float_to_bfloat16(std::span<const float> in, uint16_t* out) {
  vectorised<write_bfloat16>(in.data(), in.size(), out);
}

}  // namespace wf

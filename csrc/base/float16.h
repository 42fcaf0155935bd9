// The two 16-bit floating-point formats as bits: IEEE's half and bfloat16. Every float has one
// nearest number in them, ties to even; reading is exact.
#pragma once
#include <bit>
#include <cstdint>
#include <span>

namespace wf {

inline float half_to_float(uint16_t bits) { return float(std::bit_cast<_Float16>(bits)); }
inline uint16_t float_to_half(float value) { return std::bit_cast<uint16_t>(_Float16(value)); }

inline float bfloat16_to_float(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }
inline uint16_t float_to_bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  return uint16_t((bits & 0x7FFFFFFF) > 0x7F800000 ? 0x7FC0 : rounded);  // NaN stays NaN
}

// The same for arrays of one length, with the processor's own instructions where it has them.
void half_to_float(std::span<const uint16_t> in, float* out);
void float_to_half(std::span<const float> in, uint16_t* out);
void bfloat16_to_float(std::span<const uint16_t> in, float* out);
void float_to_bfloat16(std::span<const float> in, uint16_t* out);

}  // namespace wf

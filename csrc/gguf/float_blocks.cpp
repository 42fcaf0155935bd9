#include "gguf/float_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/float16.h"

namespace wf {
namespace {

void store16(uint16_t value, uint8_t* at) { std::memcpy(at, &value, 2); }
uint16_t load16(const uint8_t* at) {
  uint16_t value;
  std::memcpy(&value, at, 2);
  return value;
}

// 32 weights: fp16 d, then int8 q; d is the largest magnitude / 127.
struct Q8 {
  static constexpr int kElements = 32, kBytes = 34;

  static void encode(const float* x, uint8_t* out) {
    float largest = 0;
    for (int i = 0; i < kElements; ++i) largest = std::max(largest, std::abs(x[i]));
    const float d = largest / 127, inverse = d != 0 ? 1 / d : 0;
    store16(float_to_half(d), out);
    for (int i = 0; i < kElements; ++i)
      out[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::round(x[i] * inverse)));
  }

  static void decode(const uint8_t* in, float* y) {
    const float d = half_to_float(load16(in));
    for (int i = 0; i < kElements; ++i)
      y[i] = d * static_cast<float>(static_cast<int8_t>(in[2 + i]));
  }
};

// 256 weights in 16 groups of 16: 6-bit q − 32, an int8 scale a group, one fp16 d.
struct Q6K {
  static constexpr int kElements = 256, kBytes = 210;
  static constexpr int kQh = 128, kScales = 192, kD = 208;

  // Where weight i of a block lies: low four bits, high two bits.
  struct Place {
    int low, low_shift, high, high_shift;
  };
  static Place place(int i) {
    const int n = i / 128, k = i % 128 / 32, l = i % 32;
    return {64 * n + l + 32 * (k % 2), 4 * (k / 2), kQh + 32 * n + l, 2 * k};
  }

  // The scale of a group that loses least, large weights counting more: every candidate rounds the
  // weights and then takes the best scale for those integers.
  static float best_scale(const float* x) {
    float extreme = 0;
    for (int i = 0; i < 16; ++i)
      if (std::abs(x[i]) > std::abs(extreme)) extreme = x[i];
    if (std::abs(extreme) < 1e-15F) return 0;
    float best = 0, best_gain = -1;
    for (int step = -9; step <= 9; ++step) {
      const float inverse = -(32 + 0.1F * static_cast<float>(step)) / extreme;
      float xq = 0, qq = 0;
      for (int i = 0; i < 16; ++i) {
        const float q = std::clamp(std::nearbyint(x[i] * inverse), -32.0F, 31.0F);
        const float weight = x[i] * x[i];
        xq += weight * x[i] * q;
        qq += weight * q * q;
      }
      if (qq > 0 && xq * xq / qq > best_gain) {
        best_gain = xq * xq / qq;
        best = xq / qq;
      }
    }
    return best;
  }

  static void encode(const float* x, uint8_t* out) {
    std::memset(out, 0, kBytes);
    std::array<float, 16> scales;
    float extreme = 0;
    for (int group = 0; group < 16; ++group) {
      scales[group] = best_scale(x + 16 * group);
      if (std::abs(scales[group]) > std::abs(extreme)) extreme = scales[group];
    }
    if (extreme == 0) return;
    const uint16_t d_bits = float_to_half(extreme / -128);
    store16(d_bits, out + kD);
    const float d = half_to_float(d_bits);
    for (int group = 0; group < 16; ++group) {
      const float rounded = std::nearbyint(scales[group] * (-128 / extreme));
      const auto scale = static_cast<int8_t>(std::clamp(rounded, -128.0F, 127.0F));
      out[kScales + group] = static_cast<uint8_t>(scale);
      const float step = d * static_cast<float>(scale);
      for (int i = 16 * group; i < 16 * (group + 1); ++i) {
        const float q = step == 0 ? 0 : std::clamp(std::nearbyint(x[i] / step), -32.0F, 31.0F);
        const int code = static_cast<int>(q) + 32;
        const Place at = place(i);
        out[at.low] |= static_cast<uint8_t>((code & 15) << at.low_shift);
        out[at.high] |= static_cast<uint8_t>((code >> 4) << at.high_shift);
      }
    }
  }

  static void decode(const uint8_t* in, float* y) {
    const float d = half_to_float(load16(in + kD));
    for (int i = 0; i < kElements; ++i) {
      const Place at = place(i);
      const int q = (in[at.low] >> at.low_shift & 15) | (in[at.high] >> at.high_shift & 3) << 4;
      y[i] = d * static_cast<float>(static_cast<int8_t>(in[kScales + i / 16])) *
             static_cast<float>(q - 32);
    }
  }
};

// 256 weights in 8 groups of 32: 4-bit q, 6-bit scale and minimum a group, fp16 d and dmin.
struct Q4K {
  static constexpr int kElements = 256, kBytes = 144;

  static void decode(const uint8_t* in, float* y) {
    const float d = half_to_float(load16(in)), dmin = half_to_float(load16(in + 2));
    const uint8_t* s = in + 4;
    for (int group = 0; group < 8; ++group) {
      const int j = group - 4;
      const int scale = group < 4 ? s[group] & 63 : (s[group + 4] & 15) | (s[j] >> 6) << 4;
      const int minimum =
          group < 4 ? s[group + 4] & 63 : (s[group + 4] >> 4) | (s[group] >> 6) << 4;
      const uint8_t* q = in + 16 + 32 * (group / 2);
      for (int l = 0; l < 32; ++l)
        y[32 * group + l] = d * static_cast<float>(scale * (q[l] >> 4 * (group % 2) & 15)) -
                            dmin * static_cast<float>(minimum);
    }
  }
};

template <class Layout>
void encode_blocks(std::span<const float> values, uint8_t* out) {
  for (std::size_t i = 0; i + Layout::kElements <= values.size(); i += Layout::kElements)
    Layout::encode(values.data() + i, out + i / Layout::kElements * Layout::kBytes);
}

template <class Layout>
void decode_blocks(const uint8_t* in, std::span<float> values) {
  for (std::size_t i = 0; i + Layout::kElements <= values.size(); i += Layout::kElements)
    Layout::decode(in + i / Layout::kElements * Layout::kBytes, values.data() + i);
}

}  // namespace

bool is_float_type(GgufType type) {
  return type == GgufType::kF32 || type == GgufType::kF16 || type == GgufType::kBF16 ||
         type == GgufType::kQ8_0 || type == GgufType::kQ6_K;
}

void encode_floats(GgufType type, std::span<const float> values, std::byte* blocks) {
  auto* out = reinterpret_cast<uint8_t*>(blocks);
  switch (type) {
    case GgufType::kF32:
      std::memcpy(out, values.data(), values.size_bytes());
      return;
    case GgufType::kF16:
      return float_to_half(values, reinterpret_cast<uint16_t*>(out));
    case GgufType::kBF16:
      return float_to_bfloat16(values, reinterpret_cast<uint16_t*>(out));
    case GgufType::kQ8_0:
      return encode_blocks<Q8>(values, out);
    case GgufType::kQ6_K:
      return encode_blocks<Q6K>(values, out);
    default:
      fail("internal error: {} is no type for floats", gguf_type_name(type));
  }
}

bool decode_floats(GgufType type, std::span<const std::byte> blocks, std::span<float> values) {
  const auto* in = reinterpret_cast<const uint8_t*>(blocks.data());
  switch (type) {
    case GgufType::kF32:
      std::memcpy(values.data(), in, values.size_bytes());
      return true;
    case GgufType::kF16:
      half_to_float({reinterpret_cast<const uint16_t*>(in), values.size()}, values.data());
      return true;
    case GgufType::kBF16:
      bfloat16_to_float({reinterpret_cast<const uint16_t*>(in), values.size()}, values.data());
      return true;
    case GgufType::kQ8_0:
      decode_blocks<Q8>(in, values);
      return true;
    case GgufType::kQ6_K:
      decode_blocks<Q6K>(in, values);
      return true;
    case GgufType::kQ4_K:
      decode_blocks<Q4K>(in, values);
      return true;
    default:
      return false;
  }
}

}  // namespace wf

#include "gguf/ternary_blocks.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/float16.h"
#include "base/simd.h"

namespace wf {
namespace {

WF_LOOP void store_half(uint16_t value, uint8_t* at) { std::memcpy(at, &value, sizeof(value)); }

float load_half(const uint8_t* at) {
  uint16_t bits;
  std::memcpy(&bits, at, sizeof(bits));
  return half_to_float(bits);
}

// Base 3, five digits a byte, most significant first, scaled from 3^5 to 2^8 so that a digit is
// the carry of a multiplication by 3. Groups of 32, of 16 and (four digits) of 4 bytes.
struct Tq1 {
  static constexpr int kElements = 256, kBytes = 54, kScaleAt = 52;

  static WF_LOOP void pack(const int8_t* codes, uint16_t d, int8_t, uint8_t* out) {
    pack_group<32, 5>(codes, out);
    pack_group<16, 5>(codes + 160, out + 32);
    pack_group<4, 4>(codes + 240, out + 48);
    store_half(d, out + kScaleAt);
  }

  static bool unpack(const uint8_t* in, int8_t* codes, float& scale) {
    unpack_group<32, 5>(in, codes);
    unpack_group<16, 5>(in + 32, codes + 160);
    unpack_group<4, 4>(in + 48, codes + 240);
    scale = load_half(in + kScaleAt);
    return true;
  }

 private:
  // Digit n of byte m is element m + kGroupBytes·n.
  template <int kGroupBytes, int kDigits>
  static WF_LOOP void pack_group(const int8_t* codes, uint8_t* out) {
    for (int m = 0; m < kGroupBytes; ++m) {
      uint8_t value = 0;
      for (int n = 0; n < 5; ++n) {
        const int digit = n < kDigits ? codes[m + kGroupBytes * n] + 1 : 0;
        value = static_cast<uint8_t>(3 * value + digit);
      }
      out[m] = static_cast<uint8_t>(static_cast<uint16_t>(256 * value + 242) / 243);
    }
  }

  template <int kGroupBytes, int kDigits>
  static void unpack_group(const uint8_t* in, int8_t* codes) {
    for (int m = 0; m < kGroupBytes; ++m) {
      uint8_t rest = in[m];
      for (int n = 0; n < kDigits; ++n) {
        codes[m + kGroupBytes * n] = static_cast<int8_t>(3 * rest / 256 - 1);
        rest = static_cast<uint8_t>(3 * rest);
      }
    }
  }
};

// Two bits a code, code + 1. Element i of 128: byte i % 32, bits 2·(i / 32).
struct Tq2 {
  static constexpr int kElements = 256, kBytes = 66, kScaleAt = 64;

  static WF_LOOP void pack(const int8_t* codes, uint16_t d, int8_t, uint8_t* out) {
    for (int half = 0; half < 2; ++half)
      for (int j = 0; j < 32; ++j) {
        const int8_t* t = codes + 128 * half + j;
        out[32 * half + j] = static_cast<uint8_t>((t[0] + 1) | (t[32] + 1) << 2 | (t[64] + 1) << 4 |
                                                  (t[96] + 1) << 6);
      }
    store_half(d, out + kScaleAt);
  }

  static bool unpack(const uint8_t* in, int8_t* codes, float& scale) {
    uint8_t unused = 0;  // bit 0 of a pair where both are set
    for (int half = 0; half < 2; ++half)
      for (int j = 0; j < 32; ++j) {
        const uint8_t byte = in[32 * half + j];
        unused |= byte & (byte >> 1) & 0x55;
        for (int g = 0; g < 4; ++g)
          codes[128 * half + 32 * g + j] = static_cast<int8_t>((byte >> 2 * g & 3) - 1);
      }
    scale = load_half(in + kScaleAt);
    return unused == 0;
  }
};

// Two bits a code, code + 1, four consecutive elements a byte.
struct Q2 {
  static constexpr int kElements = 64, kBytes = 18;

  static WF_LOOP void pack(const int8_t* codes, uint16_t d, int8_t, uint8_t* out) {
    store_half(d, out);
    for (int j = 0; j < 16; ++j) {
      const int8_t* t = codes + 4 * j;
      out[2 + j] =
          static_cast<uint8_t>((t[0] + 1) | (t[1] + 1) << 2 | (t[2] + 1) << 4 | (t[3] + 1) << 6);
    }
  }

  static bool unpack(const uint8_t* in, int8_t* codes, float& scale) {
    uint8_t unused = 0;
    scale = load_half(in);
    for (int j = 0; j < 16; ++j) {
      unused |= in[2 + j] & (in[2 + j] >> 1) & 0x55;
      for (int g = 0; g < 4; ++g)
        codes[4 * j + g] = static_cast<int8_t>((in[2 + j] >> 2 * g & 3) - 1);
    }
    return unused == 0;
  }
};

// Eight bits a weight: −magnitude, 0 or +magnitude.
struct Q8 {
  static constexpr int kElements = 32, kBytes = 34;

  static WF_LOOP void pack(const int8_t* codes, uint16_t d, int8_t magnitude, uint8_t* out) {
    store_half(d, out);
    for (int i = 0; i < kElements; ++i) out[2 + i] = static_cast<uint8_t>(codes[i] * magnitude);
  }

  static bool unpack(const uint8_t* in, int8_t* codes, float& scale) {
    const auto* q = reinterpret_cast<const int8_t*>(in + 2);
    int magnitude = 0;
    for (int i = 0; i < kElements; ++i) magnitude = std::max(magnitude, std::abs(int(q[i])));
    for (int i = 0; i < kElements; ++i) {
      if (q[i] != 0 && std::abs(int(q[i])) != magnitude) return false;
      codes[i] = static_cast<int8_t>((q[i] > 0) - (q[i] < 0));
    }
    scale = load_half(in) * static_cast<float>(magnitude);
    return true;
  }
};

template <class Layout>
WF_LOOP void pack_all(const int8_t* codes, std::size_t count, uint16_t d, int8_t magnitude,
                      uint8_t* out) {
  for (std::size_t i = 0; i < count; ++i)
    Layout::pack(codes + i * Layout::kElements, d, magnitude, out + i * Layout::kBytes);
}

// Calls action with the layout of `type`.
template <class Action>
auto with_layout(GgufType type, Action&& action) {
  switch (type) {
    case GgufType::kTQ1_0:
      return action(Tq1{});
    case GgufType::kTQ2_0:
      return action(Tq2{});
    case GgufType::kQ2_0:
      return action(Q2{});
    case GgufType::kQ8_0:
      return action(Q8{});
    default:
      fail("internal error: {} is no ternary block type", gguf_type_name(type));
  }
}

}  // namespace

bool is_ternary_block_type(GgufType type) {
  return type == GgufType::kTQ1_0 || type == GgufType::kTQ2_0 || type == GgufType::kQ2_0 ||
         type == GgufType::kQ8_0;
}

void pack_ternary_blocks(GgufType type, std::span<const int8_t> codes, uint16_t d,
                         std::byte* blocks, int8_t magnitude) {
  with_layout(type, [&]<class Layout>(Layout) {
    vectorised<pack_all<Layout>>(codes.data(), codes.size() / Layout::kElements, d, magnitude,
                                 reinterpret_cast<uint8_t*>(blocks));
  });
}

bool unpack_ternary_blocks(GgufType type, std::span<const std::byte> blocks,
                           std::span<int8_t> codes, std::vector<float>& scales) {
  return with_layout(type, [&]<class Layout>(Layout) {
    const auto* in = reinterpret_cast<const uint8_t*>(blocks.data());
    const std::size_t count = codes.size() / Layout::kElements;
    scales.resize(count);
    bool ternary = true;
    for (std::size_t i = 0; i < count; ++i)
      ternary &=
          Layout::unpack(in + i * Layout::kBytes, codes.data() + i * Layout::kElements, scales[i]);
    return ternary;
  });
}

}  // namespace wf

#include "exporter/ternary_blocks.h"

#include <c10/util/Half.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace wf {
namespace {

void store_half(uint16_t value, uint8_t* at) { std::memcpy(at, &value, sizeof(value)); }

float load_half(const uint8_t* at) {
  uint16_t bits;
  std::memcpy(&bits, at, sizeof(bits));
  return c10::Half(bits, c10::Half::from_bits());
}

// Base 3, five digits a byte, most significant first, scaled from 3^5 to 2^8 so that a digit is
// the carry of a multiplication by 3. Groups of 32, of 16 and (four digits) of 4 bytes.
struct Tq1 {
  static constexpr int kElements = 256, kBytes = 54, kScaleAt = 52;
  struct Group {
    int bytes, digits, first_element, first_byte;
  };
  static constexpr std::array kGroups = {Group{32, 5, 0, 0}, Group{16, 5, 160, 32},
                                         Group{4, 4, 240, 48}};

  static void pack(const int8_t* codes, uint16_t d, int8_t, uint8_t* out) {
    for (const Group& group : kGroups) {
      std::array<uint8_t, 32> value{};
      for (int n = 0; n < 5; ++n)
        for (int m = 0; m < group.bytes; ++m) {
          const bool present = n < group.digits;
          const int digit = present ? codes[group.first_element + m + group.bytes * n] + 1 : 0;
          value[m] = static_cast<uint8_t>(3 * value[m] + digit);
        }
      for (int m = 0; m < group.bytes; ++m)
        out[group.first_byte + m] =
            static_cast<uint8_t>(static_cast<uint16_t>(256 * value[m] + 242) / 243);
    }
    store_half(d, out + kScaleAt);
  }

  static bool unpack(const uint8_t* in, int8_t* codes, float& scale) {
    for (const Group& group : kGroups)
      for (int m = 0; m < group.bytes; ++m) {
        uint8_t rest = in[group.first_byte + m];
        for (int n = 0; n < group.digits; ++n) {
          codes[group.first_element + m + group.bytes * n] =
              static_cast<int8_t>(3 * rest / 256 - 1);
          rest = static_cast<uint8_t>(3 * rest);
        }
      }
    scale = load_half(in + kScaleAt);
    return true;
  }
};

// Two bits a code, code + 1. Element i of 128: byte i % 32, bits 2·(i / 32).
struct Tq2 {
  static constexpr int kElements = 256, kBytes = 66, kScaleAt = 64;

  static void pack(const int8_t* codes, uint16_t d, int8_t, uint8_t* out) {
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

  static void pack(const int8_t* codes, uint16_t d, int8_t, uint8_t* out) {
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

  static void pack(const int8_t* codes, uint16_t d, int8_t magnitude, uint8_t* out) {
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
    auto* out = reinterpret_cast<uint8_t*>(blocks);
    for (std::size_t i = 0; i + Layout::kElements <= codes.size(); i += Layout::kElements)
      Layout::pack(codes.data() + i, d, magnitude, out + i / Layout::kElements * Layout::kBytes);
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

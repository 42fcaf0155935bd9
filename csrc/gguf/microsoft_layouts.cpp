#include "gguf/microsoft_layouts.h"

#include <array>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace wf {
namespace {

constexpr std::size_t kTailBytes = 32;

std::size_t whole_bytes(GgufType type, int64_t rows, int64_t columns) {
  const std::array<uint64_t, 2> ne = {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows)};
  const auto bytes = gguf_tensor_bytes(type, ne);
  if (!bytes) fail("a matrix of {} x {} has no {} form", rows, columns, gguf_type_name(type));
  return *bytes;
}

// I2_S: element j of 128 in byte j % 32, the first 32 in the highest bits; code + 1.
template <class Visit>
void each_i2s_byte(int64_t elements, Visit&& visit) {
  for (int64_t block = 0; block < elements / 128; ++block)
    for (int64_t j = 0; j < 32; ++j) visit(32 * block + j, 128 * block + j);
}

// TL1: pairs of neighbours in a row as a nibble 3·w0 + w1 + 4, two pairs a byte, the first in the
// high nibble. visit(byte, element of the pair, shift).
template <class Visit>
void each_tl1_pair(const Tiling& t, Visit&& visit) {
  const int64_t by = 256 / t.bmm;
  int64_t byte = 0;
  for (int64_t mb = 0; mb < t.rows / t.bm; ++mb)
    for (int64_t kb = 0; kb < t.columns / t.bk; ++kb)
      for (int64_t ib = 0; ib < t.bm / t.bmm; ++ib)
        for (int64_t jb = 0; jb < t.bk / by; ++jb)
          for (int64_t i16b = 0; i16b < t.bmm / 16; ++i16b)
            for (int64_t jq = 0; jq < by / 4; ++jq)
              for (int64_t i16 = 0; i16 < 16; ++i16, ++byte)
                for (int64_t p = 0; p < 2; ++p) {
                  const int64_t row = mb * t.bm + ib * t.bmm + i16b * 16 + i16;
                  const int64_t pair = kb * (t.bk / 2) + jb * (by / 2) + jq * 2 + p;
                  visit(byte, row * t.columns + 2 * pair, p == 0 ? 4 : 0);
                }
}

// TL2: K3 columns in triples, whose magnitude |9w0+3w1+w2| is a nibble and whose sign is a bit kept
// apart, then K2 = K % BK columns in pairs as in TL1.
struct Tl2 {
  explicit Tl2(const Tiling& tiling)
      : t(tiling),
        k2(t.columns % t.bk),
        k3(t.columns - k2),
        signs_at(t.rows * k3 / 6),
        pairs_at(signs_at + t.rows * k3 / 24) {}

  // Rows of a group of 32 in the order in which two registers interleave them.
  static int64_t position(int64_t row) {
    constexpr std::array<int64_t, 4> kOrder = {0, 2, 1, 3};
    return kOrder[row / 8] * 8 + row % 8;
  }

  // visit(byte of the magnitude, shift, 16-bit word of the sign, its bit, element of the triple)
  template <class Visit>
  void each_triple(Visit&& visit) const {
    const int64_t tiles_k = k3 / t.bk, groups = t.bm / 32;
    for (int64_t mb = 0; mb < t.rows / t.bm; ++mb)
      for (int64_t kb = 0; kb < tiles_k; ++kb)
        for (int64_t ib = 0; ib < groups; ++ib)
          for (int64_t in_tile = 0; in_tile < t.bk / 3; ++in_tile)
            for (int64_t ii = 0; ii < 32; ++ii) {
              const int64_t tile = (mb * tiles_k + kb) * groups + ib;
              const int64_t byte = (tile * (t.bk / 6) + in_tile / 2) * 32 + position(ii);
              const int64_t word = (tile * (t.bk / 24) + in_tile / 8) * 16 + ii % 16;
              const int64_t row = mb * t.bm + ib * 32 + ii;
              const int64_t triple = kb * (t.bk / 3) + in_tile;
              visit(byte, in_tile % 2 == 0 ? 4 : 0, signs_at + 2 * word,
                    15 - (2 * (in_tile % 8) + (ii >= 16)), row * t.columns + 3 * triple);
            }
  }

  // visit(byte, shift, element of the pair)
  template <class Visit>
  void each_pair(Visit&& visit) const {
    const int64_t groups = t.bm / 32;
    for (int64_t mb = 0; mb < t.rows / t.bm; ++mb)
      for (int64_t kb = 0; kb < k2 / 32; ++kb)
        for (int64_t ib = 0; ib < groups; ++ib)
          for (int64_t in_tile = 0; in_tile < 16; ++in_tile)
            for (int64_t ii = 0; ii < 32; ++ii) {
              const int64_t byte = ((mb * (k2 / 32) + kb) * groups + ib) * 8 + in_tile / 2;
              const int64_t row = mb * t.bm + ib * 32 + ii;
              visit(pairs_at + byte * 32 + position(ii), in_tile % 2 == 0 ? 4 : 0,
                    row * t.columns + k3 + 2 * (kb * 16 + in_tile));
            }
  }

  Tiling t;
  int64_t k2, k3;              // columns in pairs, in triples
  int64_t signs_at, pairs_at;  // bytes
};

uint8_t pair_code(const int8_t* w) { return static_cast<uint8_t>(3 * w[0] + w[1] + 4); }

void take_pair(uint8_t code, int8_t* w, bool& ternary) {
  ternary &= code <= 8;
  w[0] = static_cast<int8_t>(code / 3 - 1);
  w[1] = static_cast<int8_t>(code % 3 - 1);
}

// The value 9w0 + 3w1 + w2 back into its balanced ternary digits.
void take_triple(int value, int8_t* w, bool& ternary) {
  ternary &= std::abs(value) <= 13;
  const int shifted = value + 13;  // 0..26, digits w + 1
  w[0] = static_cast<int8_t>(shifted / 9 - 1);
  w[1] = static_cast<int8_t>(shifted / 3 % 3 - 1);
  w[2] = static_cast<int8_t>(shifted % 3 - 1);
}

}  // namespace

std::optional<std::string> tiling_problem(GgufType type, const Tiling& t) {
  if (type == GgufType::kTL1) {
    if (t.bmm != 32 && t.bmm != 64) return fmt::format("bmm is {}, expected 32 or 64", t.bmm);
    if (t.bm <= 0 || t.rows % t.bm)
      return fmt::format("tiles of {} rows do not divide {} rows", t.bm, t.rows);
    if (t.bm % t.bmm) return fmt::format("bmm {} does not divide bm {}", t.bmm, t.bm);
    if (t.bk <= 0 || t.columns % t.bk || t.bk % (256 / t.bmm))
      return fmt::format("tiles of {} columns do not divide {} columns", t.bk, t.columns);
    return std::nullopt;
  }
  if (t.bmm != 32) return fmt::format("bmm is {}, expected 32", t.bmm);
  if (t.columns <= 256) return fmt::format("it needs more than 256 columns, here {}", t.columns);
  if (t.bm <= 0 || t.bm % 32 || t.rows % t.bm)
    return fmt::format("tiles of {} rows do not divide {} rows", t.bm, t.rows);
  if (t.bk != 96 && t.bk != 192) return fmt::format("bk is {}, expected 96 or 192", t.bk);
  if (t.columns % t.bk % 32)
    return fmt::format("{} columns leave {} after tiles of {}, no multiple of 32", t.columns,
                       t.columns % t.bk, t.bk);
  return std::nullopt;
}

Tiling choose_tiling(GgufType type, int64_t rows, int64_t columns) {
  std::string problem;
  const bool tl1 = type == GgufType::kTL1;
  for (const int64_t bm : {320, 256, 160, 128, 96, 64, 32})
    for (const int64_t bk :
         tl1 ? std::vector<int64_t>{256, 128, 64, 32} : std::vector<int64_t>{192, 96}) {
      const Tiling tiling{rows, columns, bm, bk, tl1 && bm % 64 == 0 ? 64 : 32};
      const auto found = tiling_problem(type, tiling);
      if (!found) return tiling;
      problem = *found;
    }
  fail("a matrix of {} rows and {} columns cannot be tiled for {}: {}; use i2_s", rows, columns,
       gguf_type_name(type), problem);
}

std::vector<std::byte> pack_microsoft(GgufType type, std::span<const int8_t> codes, float scale,
                                      const Tiling& tiling) {
  const std::size_t size = whole_bytes(type, tiling.rows, tiling.columns);
  std::vector<std::byte> bytes(size);
  auto* out = reinterpret_cast<uint8_t*>(bytes.data());
  const int8_t* w = codes.data();
  if (type == GgufType::kI2_S) {
    each_i2s_byte(tiling.rows * tiling.columns, [&](int64_t byte, int64_t i) {
      out[byte] = static_cast<uint8_t>((w[i] + 1) << 6 | (w[i + 32] + 1) << 4 |
                                       (w[i + 64] + 1) << 2 | (w[i + 96] + 1));
    });
  } else if (type == GgufType::kTL1) {
    each_tl1_pair(tiling, [&](int64_t byte, int64_t i, int shift) {
      out[byte] |= static_cast<uint8_t>(pair_code(w + i) << shift);
    });
  } else {
    const Tl2 layout(tiling);
    layout.each_triple([&](int64_t byte, int shift, int64_t word, int64_t bit, int64_t i) {
      const int sum = 9 * w[i] + 3 * w[i + 1] + w[i + 2];
      out[byte] |= static_cast<uint8_t>(std::abs(sum) << shift);
      if (sum < 0) out[word + bit / 8] |= static_cast<uint8_t>(1 << bit % 8);
    });
    layout.each_pair([&](int64_t byte, int shift, int64_t i) {
      out[byte] |= static_cast<uint8_t>(pair_code(w + i) << shift);
    });
  }
  std::memcpy(out + size - kTailBytes, &scale, sizeof(scale));
  return bytes;
}

MicrosoftCodes unpack_microsoft(GgufType type, std::span<const std::byte> bytes,
                                const Tiling& tiling) {
  MicrosoftCodes out;
  out.codes.resize(static_cast<std::size_t>(tiling.rows * tiling.columns));
  const auto* in = reinterpret_cast<const uint8_t*>(bytes.data());
  int8_t* w = out.codes.data();
  if (bytes.size() != whole_bytes(type, tiling.rows, tiling.columns))
    fail("internal error: {} bytes are no {} matrix of {} x {}", bytes.size(), gguf_type_name(type),
         tiling.rows, tiling.columns);
  if (type == GgufType::kI2_S) {
    each_i2s_byte(tiling.rows * tiling.columns, [&](int64_t byte, int64_t i) {
      out.ternary &= (in[byte] & in[byte] >> 1 & 0x55) == 0;
      for (int g = 0; g < 4; ++g)
        w[i + 32 * g] = static_cast<int8_t>((in[byte] >> (6 - 2 * g) & 3) - 1);
    });
  } else if (type == GgufType::kTL1) {
    each_tl1_pair(tiling, [&](int64_t byte, int64_t i, int shift) {
      take_pair(in[byte] >> shift & 15, w + i, out.ternary);
    });
  } else {
    const Tl2 layout(tiling);
    layout.each_triple([&](int64_t byte, int shift, int64_t word, int64_t bit, int64_t i) {
      const int magnitude = in[byte] >> shift & 15;
      const bool negative = in[word + bit / 8] >> bit % 8 & 1;
      take_triple(negative ? -magnitude : magnitude, w + i, out.ternary);
    });
    layout.each_pair([&](int64_t byte, int shift, int64_t i) {
      take_pair(in[byte] >> shift & 15, w + i, out.ternary);
    });
  }
  std::memcpy(&out.scale, in + bytes.size() - kTailBytes, sizeof(out.scale));
  return out;
}

}  // namespace wf

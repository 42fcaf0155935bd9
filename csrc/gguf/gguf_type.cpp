#include "gguf/gguf_type.h"

#include <strings.h>

#include <algorithm>
#include <array>

namespace wf {
namespace {

constexpr GgufTypeInfo row(uint32_t id, std::string_view name, uint64_t elements, uint64_t bytes) {
  return {static_cast<GgufType>(id), name, elements, bytes};
}

constexpr std::array kTypes = {
    row(0, "F32", 1, 4),         row(1, "F16", 1, 2),         row(2, "Q4_0", 32, 18),
    row(3, "Q4_1", 32, 20),      row(6, "Q5_0", 32, 22),      row(7, "Q5_1", 32, 24),
    row(8, "Q8_0", 32, 34),      row(10, "Q2_K", 256, 84),    row(11, "Q3_K", 256, 110),
    row(12, "Q4_K", 256, 144),   row(13, "Q5_K", 256, 176),   row(14, "Q6_K", 256, 210),
    row(16, "IQ2_XXS", 256, 66), row(17, "IQ2_XS", 256, 74),  row(18, "IQ3_XXS", 256, 98),
    row(19, "IQ1_S", 256, 50),   row(20, "IQ4_NL", 32, 18),   row(21, "IQ3_S", 256, 110),
    row(22, "IQ2_S", 256, 82),   row(23, "IQ4_XS", 256, 136), row(24, "I8", 1, 1),
    row(25, "I16", 1, 2),        row(26, "I32", 1, 4),        row(27, "I64", 1, 8),
    row(28, "F64", 1, 8),        row(29, "IQ1_M", 256, 56),   row(30, "BF16", 1, 2),
    row(34, "TQ1_0", 256, 54),   row(35, "TQ2_0", 256, 66),   row(36, "I2_S", 128, 0),
    row(38, "TL1", 4, 0),        row(39, "TL2", 4, 0),        row(41, "Q1_0", 128, 18),
    row(42, "Q2_0", 64, 18),
};

constexpr uint64_t kTailBytes = 32;  // Microsoft's types: the scale, padded

constexpr uint64_t pad32(uint64_t bytes) { return (bytes + 31) / 32 * 32; }

// What Microsoft's fork of 2024 allocates for a TL2 matrix of m rows: K−256 columns as if in
// triples of 5 bits, 256 as if in pairs of 4, whatever the tiling then uses of it.
uint64_t tl2_code_bytes(uint64_t m, uint64_t k) {
  return (k - 256) * m / 3 * 5 / 8 + 256 * m / 2 * 4 / 8;
}

}  // namespace

std::span<const GgufTypeInfo> gguf_types() { return kTypes; }

const GgufTypeInfo* find_gguf_type(uint32_t id) {
  const auto found = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& known) {
    return static_cast<uint32_t>(known.type) == id;
  });
  return found == kTypes.end() ? nullptr : &*found;
}

const GgufTypeInfo* find_gguf_type(std::string_view name) {
  const auto found = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& known) {
    return known.name.size() == name.size() &&
           strncasecmp(known.name.data(), name.data(), name.size()) == 0;
  });
  return found == kTypes.end() ? nullptr : &*found;
}

std::string_view gguf_type_name(GgufType type) {
  const auto* info = find_gguf_type(static_cast<uint32_t>(type));
  return info ? info->name : "?";
}

std::optional<uint64_t> gguf_tensor_bytes(GgufType type, std::span<const uint64_t> ne) {
  const auto* info = find_gguf_type(static_cast<uint32_t>(type));
  if (!info || ne.empty() || ne[0] % info->block_elements) return std::nullopt;
  uint64_t elements = 1;
  for (const uint64_t extent : ne)
    if (__builtin_mul_overflow(elements, extent, &elements)) return std::nullopt;
  if (elements > INT64_MAX / 8) return std::nullopt;  // so that no size below overflows
  if (info->block_bytes) {
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(elements / info->block_elements, info->block_bytes, &bytes))
      return std::nullopt;
    return bytes;
  }
  if (type != GgufType::kTL2) return elements / 4 + kTailBytes;
  if (ne[0] <= 256 || elements > INT64_MAX / 256) return std::nullopt;
  return pad32(tl2_code_bytes(elements / ne[0], ne[0])) + kTailBytes;
}

}  // namespace wf

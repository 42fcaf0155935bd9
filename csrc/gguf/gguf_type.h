// The element types of GGUF files: ggml's ids, and the ids of Microsoft's forks where they differ.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace wf {

enum class GgufType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ6_K = 14,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kI2_S = 36,  // Microsoft's forks; llama.cpp has removed the id
  kTL1 = 38,   // Microsoft's fork of 2024
  kTL2 = 39,   // Microsoft's fork of 2024; MXFP4 in llama.cpp
  kQ2_0 = 42,  // llama.cpp since July 2026; TL2 in Microsoft's fork of 2026
};

struct GgufTypeInfo {
  GgufType type;
  std::string_view name;
  uint64_t block_elements;  // a row holds a whole number of blocks
  uint64_t block_bytes;     // 0: the size is that of a whole tensor (I2_S, TL1, TL2)
};

// Every type whose size is known here, also those that nothing here decodes. Types that engines use
// for activations only (Q8_1, Q8_K) are not among them.
std::span<const GgufTypeInfo> gguf_types();

const GgufTypeInfo* find_gguf_type(uint32_t id);
const GgufTypeInfo* find_gguf_type(std::string_view name);  // "TQ1_0", in either case
std::string_view gguf_type_name(GgufType type);

// Bytes of a tensor of shape `ne`, ne[0] contiguous, without the padding behind it. nullopt when a
// row is no whole number of blocks or the size does not fit 64 bits.
std::optional<uint64_t> gguf_tensor_bytes(GgufType type, std::span<const uint64_t> ne);

}  // namespace wf

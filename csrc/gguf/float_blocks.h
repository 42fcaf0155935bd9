// Real numbers in ggml's types: embeddings, heads, norms, and matrices that stay full precision.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "gguf/gguf_type.h"

namespace wf {

// F32, F16, BF16, Q8_0, Q6_K: what encode_floats writes.
bool is_float_type(GgufType type);

// values: a whole number of blocks; `blocks` aligned for the type. Rounded to nearest as ggml
// rounds (halves away from zero in Q8_0 and Q6_K, to even elsewhere).
void encode_floats(GgufType type, std::span<const float> values, std::byte* blocks);

// Decodes F32, F16, BF16, Q8_0, Q6_K, Q4_K; returns false for other types.
bool decode_floats(GgufType type, std::span<const std::byte> blocks, std::span<float> values);

}  // namespace wf

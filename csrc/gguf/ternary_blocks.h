// Ternary codes in ggml's block types, written directly: no quantiser of an engine ever sees a
// latent weight (theirs take the largest weight of a block as its scale, and training took the
// mean). Layouts: ggml's block_tq1_0, block_tq2_0, block_q2_0, block_q8_0.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "gguf/gguf_type.h"

namespace wf {

constexpr uint16_t kHalfOne = 0x3C00;  // 1.0 as fp16

bool is_ternary_block_type(GgufType type);

// codes: −1/0/+1, a whole number of blocks. d: the scale of every block as fp16 bits. Q8_0 stores
// magnitude·t (127 with d = s/127, or 1 with d = s); the others ignore `magnitude`.
void pack_ternary_blocks(GgufType type, std::span<const int8_t> codes, uint16_t d,
                         std::byte* blocks, int8_t magnitude = 127);

// The codes and, of every block, the real value of code +1; 0 for a block that stores the scale 0.
// Returns false when a block holds something else than ternary codes (the unused code 3, several
// magnitudes in a Q8_0 block).
bool unpack_ternary_blocks(GgufType type, std::span<const std::byte> blocks,
                           std::span<int8_t> codes, std::vector<float>& scales);

}  // namespace wf

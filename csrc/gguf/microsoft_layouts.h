// Ternary codes as the kernels of Microsoft's llama.cpp forks read them: a whole matrix in an order
// of its own, then its scale. Read from the forks' packers; formulas in the .cpp.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gguf/gguf_type.h"

namespace wf {

// How TL1 and TL2 cut a matrix of `rows` x `columns` into tiles. The engine's kernels are generated
// for these numbers when it is built; a file made for others gives wrong answers there.
struct Tiling {
  int64_t rows = 0, columns = 0;
  int64_t bm = 0, bk = 0;  // tile of the matrix
  int64_t bmm = 0;         // rows of a register tile: 32 or 64, for TL2 always 32
  bool operator==(const Tiling&) const = default;
};

// Why `tiling` cannot hold its matrix in this type, as the end of a sentence; nullopt when it can.
std::optional<std::string> tiling_problem(GgufType type, const Tiling& tiling);

// The largest tiles of the stock kernels that fit; throws Error saying why none does.
Tiling choose_tiling(GgufType type, int64_t rows, int64_t columns);

// codes: rows x columns, row-major, −1/0/+1. The result has gguf_tensor_bytes() bytes, scale
// included. I2_S is the layout of the x86 builds (128 codes in 32 bytes); `tiling` matters to TL1
// and TL2 alone.
std::vector<std::byte> pack_microsoft(GgufType type, std::span<const int8_t> codes, float scale,
                                      const Tiling& tiling);

struct MicrosoftCodes {
  std::vector<int8_t> codes;
  float scale = 0;
  bool ternary = true;  // false when a code is none of −1/0/+1
};
MicrosoftCodes unpack_microsoft(GgufType type, std::span<const std::byte> bytes,
                                const Tiling& tiling);

}  // namespace wf

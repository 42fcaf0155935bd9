// Byte transposes of 64 x 64 tiles of codes: four rows of four codes in registers, the tile in
// shared memory, so that both orders are read and written in runs of 64 bytes.
#pragma once

#include <stdint.h>

namespace wf::kernels {

constexpr int kCodeTile = 64;  // rows and columns of a tile
constexpr int kCodeTileThreads =
    256;  // each holds a 4 x 4 block: rows 4 * (t / 16), columns 4 * (t % 16)

// words[i] holds columns 0..3 of row i; afterwards words[j] holds rows 0..3 of column j.
__device__ __forceinline__ void transpose_4x4(uint32_t (&words)[4]) {
  const uint32_t low01 = __byte_perm(words[0], words[1], 0x5140);
  const uint32_t high01 = __byte_perm(words[0], words[1], 0x7362);
  const uint32_t low23 = __byte_perm(words[2], words[3], 0x5140);
  const uint32_t high23 = __byte_perm(words[2], words[3], 0x7362);
  words[0] = __byte_perm(low01, low23, 0x5410);
  words[1] = __byte_perm(low01, low23, 0x7632);
  words[2] = __byte_perm(high01, high23, 0x5410);
  words[3] = __byte_perm(high01, high23, 0x7632);
}

struct CodeTile {
  uint32_t words[kCodeTile]
                [kCodeTile / 4 + 1];  // [column][four rows], padded against bank conflicts

  // Called by all threads of the block with their 4 x 4 block (row-major words, as transpose_4x4
  // takes them); writes the tile to `to` [columns, rows], its rows `pitch` apart; a multiple of 4
  // rows. The tile's first row and column are given; what lies outside the matrix is left out.
  __device__ __forceinline__ void store_transposed(uint32_t (&block)[4], int8_t* to, int pitch,
                                                   int first_row, int first_column, int rows,
                                                   int columns) {
    const int t = threadIdx.x;
    transpose_4x4(block);
#pragma unroll
    for (int j = 0; j < 4; ++j) words[t % 16 * 4 + j][t / 16] = block[j];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = i * 16 + t / 16;
      const int row = first_row + t % 16 * 4;
      if (first_column + column < columns && row < rows) {
        const size_t at = static_cast<size_t>(first_column + column) * pitch + row;
        *reinterpret_cast<uint32_t*>(to + at) = words[column][t % 16];
      }
    }
  }
};

}  // namespace wf::kernels

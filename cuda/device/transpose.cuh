// Byte transposes of tiles of codes: four rows of eight codes in registers, the tile in shared
// memory, so that both orders are read and written in runs of at least 64 bytes.
#pragma once

#include <stdint.h>

namespace wf::kernels {

constexpr int kTileRows = 128;
constexpr int kTileColumns = 64;
constexpr int kTileThreads = 256;  // each holds a 4 x 8 block

__host__ __device__ constexpr int tiles_along_rows(int rows) {
  return (rows + kTileRows - 1) / kTileRows;
}
__host__ __device__ constexpr int tiles_along_columns(int columns) {
  return (columns + kTileColumns - 1) / kTileColumns;
}

// A thread's block within its tile.
__device__ __forceinline__ int block_row() { return threadIdx.x / 8 * 4; }
__device__ __forceinline__ int block_column() { return threadIdx.x % 8 * 8; }

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
  // [column][sixteen rows]; a column's chunks are permuted (chunk ^ column / 8), so that neither
  // order of access meets its own banks.
  uint4 chunks[kTileColumns][kTileRows / 16];

  // Called by all threads of the block with their codes: of row block_row() + i, columns
  // block_column() .. + 7 in block[i]. Writes the tile to `to` [columns, rows], its rows `pitch`
  // apart; rows and pitch multiples of 16. The tile's first row and column are given; what lies
  // outside the matrix is left out.
  __device__ __forceinline__ void store_transposed(const uint2 (&block)[4], int8_t* to, int pitch,
                                                   int first_row, int first_column, int rows,
                                                   int columns) {
    const int t = threadIdx.x;
    uint32_t words[2][4] = {{block[0].x, block[1].x, block[2].x, block[3].x},
                            {block[0].y, block[1].y, block[2].y, block[3].y}};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      transpose_4x4(words[half]);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int column = t % 8 * 8 + half * 4 + j;
        uint4& chunk = chunks[column][t / 32 ^ t % 8];
        reinterpret_cast<uint32_t*>(&chunk)[t / 8 % 4] = words[half][j];
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kTileColumns / 32; ++i) {
      const int column = i * 32 + t / 8, row = t % 8 * 16;
      if (first_column + column < columns && first_row + row < rows) {
        const size_t at = static_cast<size_t>(first_column + column) * pitch + first_row + row;
        *reinterpret_cast<uint4*>(to + at) = chunks[column][t % 8 ^ column / 8];
      }
    }
  }
};

}  // namespace wf::kernels

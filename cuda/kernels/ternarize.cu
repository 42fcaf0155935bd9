// See ternarize.h for the formula. Every block of the two large launches takes one 64 x 64 tile of one
// matrix; a small launch between them adds up each matrix's tiles.
#include "kernels/ternarize.h"

#include "device/quantize.cuh"
#include "device/transpose.cuh"

namespace wf::kernels {
namespace {

__host__ __device__ constexpr int tiles_along(int size) { return (size + kCodeTile - 1) / kCodeTile; }

// Place of this thread's 4 x 4 block in its matrix.
struct Place {
  int matrix, tile_row, tile_column, row, column;
};

__device__ __forceinline__ Place locate(const TernaryMatrix* matrices, int count, int tile) {
  int low = 0, high = count - 1;  // the last matrix with first_tile <= tile
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (matrices[middle].first_tile <= tile) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const int along = tiles_along(matrices[low].columns);
  const int local = tile - matrices[low].first_tile;
  Place place;
  place.matrix = low;
  place.tile_row = local / along * kCodeTile;
  place.tile_column = local % along * kCodeTile;
  place.row = place.tile_row + threadIdx.x / 16 * 4;
  place.column = place.tile_column + threadIdx.x % 16 * 4;
  return place;
}

__device__ __forceinline__ float4 load_weights(const TernaryMatrix& m, int row, int column) {
  return *reinterpret_cast<const float4*>(m.weight + static_cast<size_t>(row) * m.columns + column);
}

// Fixed order: over the lanes of a warp by halving distances, then over the warps in order.
__device__ __forceinline__ double block_sum(double value) {
  __shared__ double warps[kCodeTileThreads / 32];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  }
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  value = warps[0];
#pragma unroll
  for (int i = 1; i < kCodeTileThreads / 32; ++i) value += warps[i];
  return value;
}

__global__ void __launch_bounds__(kCodeTileThreads)
    sum_tiles_kernel(const TernaryMatrix* __restrict__ matrices, int count, double* partial) {
  const Place place = locate(matrices, count, blockIdx.x);
  const TernaryMatrix& m = matrices[place.matrix];
  double sum = 0;
  if (place.row < m.rows && place.column < m.columns) {
    float4 w[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) w[i] = load_weights(m, place.row + i, place.column);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sum += static_cast<double>(fabsf(w[i].x)) + static_cast<double>(fabsf(w[i].y)) +
             (static_cast<double>(fabsf(w[i].z)) + static_cast<double>(fabsf(w[i].w)));
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// One block per matrix.
__global__ void __launch_bounds__(kCodeTileThreads)
    delta_kernel(const TernaryMatrix* __restrict__ matrices, const double* __restrict__ partial) {
  const TernaryMatrix& m = matrices[blockIdx.x];
  const int tiles = tiles_along(m.rows) * tiles_along(m.columns);
  double sum = 0;
  for (int i = threadIdx.x; i < tiles; i += kCodeTileThreads) sum += partial[m.first_tile + i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) {
    const double mean = sum / (static_cast<double>(m.rows) * m.columns);
    *m.delta = max_or_nan(static_cast<float>(mean), 1e-5f);
  }
}

// -1, 0 or 1 in the low byte, as round_to_code() leaves it.
__device__ __forceinline__ uint32_t ternary_code(float w, float inverse) {
  return round_to_code(fminf(fmaxf(__fmul_rn(w, inverse), -1.0f), 1.0f));
}

__global__ void __launch_bounds__(kCodeTileThreads)
    ternarize_kernel(const TernaryMatrix* __restrict__ matrices, int count) {
  __shared__ CodeTile tile;
  const Place place = locate(matrices, count, blockIdx.x);
  const TernaryMatrix& m = matrices[place.matrix];
  const float inverse = __fdiv_rn(1.0f, *m.delta);
  uint32_t words[4] = {};
  if (place.row < m.rows && place.column < m.columns) {
    float4 w[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) w[i] = load_weights(m, place.row + i, place.column);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      words[i] = pack_codes(ternary_code(w[i].x, inverse), ternary_code(w[i].y, inverse),
                            ternary_code(w[i].z, inverse), ternary_code(w[i].w, inverse));
      const size_t at = static_cast<size_t>(place.row + i) * m.columns + place.column;
      *reinterpret_cast<uint32_t*>(m.codes + at) = words[i];
      if (m.packed != nullptr) {
        const uint32_t shifted = __vadd4(words[i], 0x01010101u);  // 0, 1, 2 in each byte
        m.packed[at / 4] = shifted | shifted >> 6 | shifted >> 12 | shifted >> 18;
      }
    }
  }
  if (m.codes_transposed != nullptr) {
    tile.store_transposed(words, m.codes_transposed, place.tile_row, place.tile_column, m.rows,
                          m.columns);
  }
}

__global__ void __launch_bounds__(kCodeTileThreads)
    transpose_s8_kernel(const int8_t* __restrict__ in, int8_t* __restrict__ out, int rows,
                        int columns) {
  __shared__ CodeTile tile;
  const int along = tiles_along(columns);
  const int tile_row = blockIdx.x / along * kCodeTile, tile_column = blockIdx.x % along * kCodeTile;
  const int row = tile_row + threadIdx.x / 16 * 4, column = tile_column + threadIdx.x % 16 * 4;
  uint32_t words[4] = {};
  if (row < rows && column < columns) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      words[i] = *reinterpret_cast<const uint32_t*>(in + static_cast<size_t>(row + i) * columns +
                                                    column);
    }
  }
  tile.store_transposed(words, out, tile_row, tile_column, rows, columns);
}

bool valid(int rows, int columns) {
  return rows > 0 && columns > 0 && rows % 16 == 0 && columns % 16 == 0;
}

}  // namespace

int plan_ternarize(TernaryMatrix* matrices, int count) {
  int tiles = 0;
  for (int i = 0; i < count; ++i) {
    if (!valid(matrices[i].rows, matrices[i].columns)) return 0;
    matrices[i].first_tile = tiles;
    tiles += tiles_along(matrices[i].rows) * tiles_along(matrices[i].columns);
  }
  return tiles;
}

cudaError_t ternarize(const TernaryMatrix* matrices, int count, int tiles, double* partial,
                      cudaStream_t stream) {
  if (count < 1 || tiles < count) return cudaErrorInvalidValue;
  sum_tiles_kernel<<<tiles, kCodeTileThreads, 0, stream>>>(matrices, count, partial);
  delta_kernel<<<count, kCodeTileThreads, 0, stream>>>(matrices, partial);
  ternarize_kernel<<<tiles, kCodeTileThreads, 0, stream>>>(matrices, count);
  return cudaGetLastError();
}

cudaError_t transpose_s8(const int8_t* in, int8_t* out, int rows, int columns,
                         cudaStream_t stream) {
  if (!valid(rows, columns)) return cudaErrorInvalidValue;
  const int tiles = tiles_along(rows) * tiles_along(columns);
  transpose_s8_kernel<<<tiles, kCodeTileThreads, 0, stream>>>(in, out, rows, columns);
  return cudaGetLastError();
}

}  // namespace wf::kernels

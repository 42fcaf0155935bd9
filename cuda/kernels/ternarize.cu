// See ternarize.h for the formula. Every block of the two large launches takes a part of one
// matrix; a small launch between them adds up each matrix's sums.
#include "device/bf16.cuh"
#include "device/block_sum.cuh"
#include "device/early_launch.cuh"
#include "device/last_starting_at.cuh"
#include "device/quantize.cuh"
#include "device/transpose.cuh"
#include "kernels/ternarize.h"

namespace wf::kernels {
namespace {

__host__ __device__ inline int chunks_of(const TernaryMatrix& m) {
  return (m.rows * m.columns + kSumChunk - 1) / kSumChunk;
}

// Tiles of a matrix in row-major order.
__host__ __device__ constexpr int tiles_of(int rows, int columns) {
  return tiles_along_rows(rows) * tiles_along_columns(columns);
}

// One block per chunk.
__global__ void __launch_bounds__(kBlockSumThreads)
    sum_weights_kernel(const TernaryMatrix* __restrict__ matrices, int count,
                       double* __restrict__ absolute_sums) {
  wait_for_predecessor();
  constexpr int kVectors = kSumChunk / 4 / kBlockSumThreads;
  const int chunk = blockIdx.x;
  const TernaryMatrix& m =
      matrices[last_starting_at(count, chunk, [&](int i) { return matrices[i].first_chunk; })];
  const int first = (chunk - m.first_chunk) * kSumChunk + threadIdx.x * 4;
  float4 w[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int at = first + i * kBlockSumThreads * 4;
    w[i] = at < m.rows * m.columns ? *reinterpret_cast<const float4*>(m.weight + at) : float4{};
  }
  double sum = 0;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) sum += sum_magnitudes(w[i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) absolute_sums[chunk] = sum;
}

// One block per matrix.
__global__ void __launch_bounds__(kBlockSumThreads)
    delta_kernel(const TernaryMatrix* __restrict__ matrices,
                 const double* __restrict__ absolute_sums) {
  wait_for_predecessor();
  const TernaryMatrix& m = matrices[blockIdx.x];
  const int chunks = chunks_of(m);
  double sum = 0;
  for (int i = threadIdx.x; i < chunks; i += kBlockSumThreads) {
    sum += absolute_sums[m.first_chunk + i];
  }
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

// Four codes as bits 2j of a byte, each plus one.
__device__ __forceinline__ uint32_t pack_ternary(uint32_t codes) {
  const uint32_t shifted = __vadd4(codes, 0x01010101u);  // 0, 1, 2 in each byte
  return (shifted | shifted >> 6 | shifted >> 12 | shifted >> 18) & 0xff;
}

// One block per tile.
__global__ void __launch_bounds__(kTileThreads, 4)
    ternarize_kernel(const TernaryMatrix* __restrict__ matrices, int count) {
  wait_for_predecessor();
  __shared__ CodeTile tile;
  const TernaryMatrix& m =
      matrices[last_starting_at(count, blockIdx.x, [&](int i) { return matrices[i].first_tile; })];
  const int along = tiles_along_columns(m.columns), local = blockIdx.x - m.first_tile;
  const int tile_row = local / along * kTileRows, tile_column = local % along * kTileColumns;
  const int row = tile_row + block_row(), column = tile_column + block_column();
  const float inverse = __fdiv_rn(1.0f, *m.delta);
  uint2 codes[4] = {};
  if (row < m.rows && column < m.columns) {
    const size_t first = static_cast<size_t>(row) * m.columns + column;
    float w[4][8];
#pragma unroll
    for (int i = 0; i < 4; ++i) load_eight(m.weight + first + i * m.columns, w[i]);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      codes[i] = {pack_codes(ternary_code(w[i][0], inverse), ternary_code(w[i][1], inverse),
                             ternary_code(w[i][2], inverse), ternary_code(w[i][3], inverse)),
                  pack_codes(ternary_code(w[i][4], inverse), ternary_code(w[i][5], inverse),
                             ternary_code(w[i][6], inverse), ternary_code(w[i][7], inverse))};
      const size_t at = first + i * m.columns;
      *reinterpret_cast<uint2*>(m.codes + at) = codes[i];
      if (m.packed != nullptr) {
        const uint16_t pair = pack_ternary(codes[i].x) | pack_ternary(codes[i].y) << 8;
        *reinterpret_cast<uint16_t*>(m.packed + at / 4) = pair;
      }
    }
  }
  if (m.codes_transposed != nullptr) {
    tile.store_transposed(codes, m.codes_transposed, m.transposed_pitch, tile_row, tile_column,
                          m.rows, m.columns);
  }
}

__global__ void __launch_bounds__(kTileThreads)
    transpose_s8_kernel(const int8_t* __restrict__ in, int8_t* __restrict__ out, int rows,
                        int columns) {
  wait_for_predecessor();
  __shared__ CodeTile tile;
  const int along = tiles_along_columns(columns);
  const int tile_row = blockIdx.x / along * kTileRows;
  const int tile_column = blockIdx.x % along * kTileColumns;
  const int row = tile_row + block_row(), column = tile_column + block_column();
  uint2 codes[4] = {};
  if (row < rows && column < columns) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      codes[i] = load_codes(in + static_cast<size_t>(row + i) * columns + column);
    }
  }
  tile.store_transposed(codes, out, rows, tile_row, tile_column, rows, columns);
}

bool valid(int rows, int columns) {
  return rows > 0 && columns > 0 && rows % 16 == 0 && columns % 16 == 0;
}

}  // namespace

TernarizePlan plan_ternarize(TernaryMatrix* matrices, int count) {
  TernarizePlan plan{0, 0};
  for (int i = 0; i < count; ++i) {
    TernaryMatrix& m = matrices[i];
    if (!valid(m.rows, m.columns)) return {0, 0};
    const bool pitched = m.transposed_pitch >= m.rows && m.transposed_pitch % 16 == 0;
    if (m.codes_transposed != nullptr && !pitched) return {0, 0};
    m.first_tile = plan.tiles;
    m.first_chunk = plan.chunks;
    plan.tiles += tiles_of(m.rows, m.columns);
    plan.chunks += chunks_of(m);
  }
  return plan;
}

cudaError_t sum_weights(const TernaryMatrix* matrices, int count, TernarizePlan plan,
                        double* absolute_sums, cudaStream_t stream) {
  if (count < 1 || plan.chunks < count) return cudaErrorInvalidValue;
  launch_early(sum_weights_kernel, plan.chunks, kBlockSumThreads, 0, stream, matrices, count,
               absolute_sums);
  return cudaGetLastError();
}

cudaError_t ternarize(const TernaryMatrix* matrices, int count, TernarizePlan plan,
                      const double* absolute_sums, cudaStream_t stream) {
  if (count < 1 || plan.tiles < count) return cudaErrorInvalidValue;
  launch_early(delta_kernel, count, kBlockSumThreads, 0, stream, matrices, absolute_sums);
  launch_early(ternarize_kernel, plan.tiles, kTileThreads, 0, stream, matrices, count);
  return cudaGetLastError();
}

cudaError_t transpose_s8(const int8_t* in, int8_t* out, int rows, int columns,
                         cudaStream_t stream) {
  if (!valid(rows, columns)) return cudaErrorInvalidValue;
  launch_early(transpose_s8_kernel, tiles_of(rows, columns), kTileThreads, 0, stream, in, out, rows,
               columns);
  return cudaGetLastError();
}

}  // namespace wf::kernels

// See quantize_gradient.h for the formula. A row lives in registers as bf16; the next row's loads
// are in flight while it is worked on.
#include "device/bf16.cuh"
#include "device/column_scales.cuh"
#include "device/early_launch.cuh"
#include "device/processors.h"
#include "device/row_reduce.cuh"
#include "device/row_shape.h"
#include "device/stochastic_codes.cuh"
#include "device/transpose.cuh"
#include "kernels/quantize_gradient.h"

namespace wf::kernels {
namespace {

constexpr int kMaxVectors = 8;  // per thread, see RowShape

template <class Shape>
__global__ void __launch_bounds__(Shape::kBlock, Shape::kBlocksPerSm)
    quantize_gradient_rows_kernel(const __nv_bfloat16* __restrict__ dy,
                                  const __grid_constant__ ColumnScales columns, Noise noise,
                                  int8_t* __restrict__ codes, float* __restrict__ scale, int rows,
                                  int width) {
  wait_for_predecessor();
  constexpr int kThreads = Shape::kThreads, kVectors = Shape::kVectors;
  __shared__ float exchange[Shape::kBlock / 32];
  const int thread = threadIdx.x % kThreads;
  const size_t row = static_cast<size_t>(blockIdx.x) * Shape::kRows + threadIdx.x / kThreads;
  const auto column = [&](int v) { return (v * kThreads + thread) * 8; };
  const auto inside = [&](int v) { return row < rows && column(v) < width; };

  uint4 raw[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    raw[v] = inside(v) ? load_vector(dy + row * width + column(v)) : uint4{};
  }
  const LoadedScales deltas(columns);
  const StochasticRounding rounding(noise);
  float largest = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const float magnitude = largest_magnitude(raw[v]);
    largest = max_or_nan(largest, __fmul_rn(magnitude, deltas.at(column(v))));
  }
  largest = row_reduce<Max, kThreads>(largest, exchange);
  const float s = gradient_scale(largest);
  if (row < rows && thread == 0) scale[row] = s;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (!inside(v)) continue;
    const size_t at = row * width + column(v);
    float x[8];
    unpack_bf16(raw[v], x);
    *reinterpret_cast<uint2*>(codes + at) =
        rounding.codes(x, __fmul_rd(deltas.at(column(v)), s), static_cast<uint32_t>(at / 8));
  }
}

constexpr int kColumnLanes = 32;  // of a block, eight columns each
constexpr int kRowLanes = 8;      // of a block
constexpr int kRowsPerBlock = 256;

// What one step of a row's code is worth in dy * delta / input_scale.
__device__ __forceinline__ float step_of(float scale, float input_scale) {
  return __frcp_rn(__fmul_rn(scale, input_scale));
}

// Bits of magnitudes ascend like the values, NaN last.
__global__ void __launch_bounds__(kColumnLanes* kRowLanes)
    gradient_maxima_kernel(const int8_t* __restrict__ codes, const float* __restrict__ scale,
                           const float* __restrict__ input_scale, uint32_t* __restrict__ largest,
                           int rows, int width) {
  wait_for_predecessor();
  __shared__ float exchange[kRowLanes][kColumnLanes * 8 + 8];
  const int lane = threadIdx.x % kColumnLanes, row_lane = threadIdx.x / kColumnLanes;
  const int column = (blockIdx.x * kColumnLanes + lane) * 8;
  float top[8] = {};
  if (column < width) {
    const int end = min(rows, (static_cast<int>(blockIdx.y) + 1) * kRowsPerBlock);
#pragma unroll 4
    for (int row = blockIdx.y * kRowsPerBlock + row_lane; row < end; row += kRowLanes) {
      float x[8];
      unpack_codes(load_codes(codes + static_cast<size_t>(row) * width + column), x);
      const float step = step_of(scale[row], input_scale[row]);
#pragma unroll
      for (int i = 0; i < 8; ++i) top[i] = max_or_nan(top[i], fabsf(__fmul_rn(x[i], step)));
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) exchange[row_lane][lane * 8 + i] = top[i];
  __syncthreads();
  const int own = blockIdx.x * kColumnLanes * 8 + threadIdx.x;  // as many threads as columns
  if (own >= width) return;
  float value = exchange[0][threadIdx.x];
#pragma unroll
  for (int i = 1; i < kRowLanes; ++i) value = max_or_nan(value, exchange[i][threadIdx.x]);
  atomicMax(largest + own, __float_as_uint(value));
}

__global__ void __launch_bounds__(kTileThreads, 5) quantize_gradient_columns_kernel(
    const int8_t* __restrict__ codes, const float* __restrict__ scale,
    const __grid_constant__ ColumnScales columns, const float* __restrict__ input_scale,
    const uint32_t* __restrict__ largest, Noise noise, int8_t* __restrict__ codes_transposed,
    float* __restrict__ column_scale, int rows, int width) {
  wait_for_predecessor();
  __shared__ CodeTile tile;
  __shared__ __align__(16) float column_s[kTileColumns], row_step[kTileRows];
  const int tile_row = blockIdx.y * kTileRows, tile_column = blockIdx.x * kTileColumns;
  const int row = tile_row + block_row(), column = tile_column + block_column();
  const bool inside = row < rows && column < width;
  const size_t first = static_cast<size_t>(row) * width + column;
  uint2 block[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    block[i] = inside ? load_codes(codes + first + static_cast<size_t>(i) * width) : uint2{};
  }
  // The divisions, each once in the block.
  const int t = threadIdx.x, own_row = t - kTileColumns;
  if (t < kTileColumns && tile_column + t < width) {
    const int own = tile_column + t;
    const float s = gradient_scale(__uint_as_float(largest[own]));
    column_s[t] = s;
    if (blockIdx.y == 0) column_scale[own] = __fmul_rn(s, LoadedScales(columns).at(own));
  }
  if (own_row >= 0 && own_row < kTileRows && tile_row + own_row < rows) {
    const int own = tile_row + own_row;
    row_step[own_row] = step_of(scale[own], input_scale[own]);
  }
  __syncthreads();
  if (inside) {
    const StochasticRounding rounding(noise);
    float s[8];
    load_eight(column_s + block_column(), s);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float step = row_step[block_row() + i];
      float x[8];
      unpack_codes(block[i], x);
#pragma unroll
      for (int j = 0; j < 8; ++j) x[j] = __fmul_rn(x[j], step);
      const size_t at = first + static_cast<size_t>(i) * width;
      block[i] = rounding.codes(x, s, static_cast<uint32_t>(at / 8));
    }
  }
  tile.store_transposed(block, codes_transposed, rows, tile_row, tile_column, rows, width);
}

unsigned ceil_div(int a, int b) { return static_cast<unsigned>((a + b - 1) / b); }

bool valid(int rows, int width) {
  return rows >= 16 && width >= 16 && rows % 16 == 0 && width % 16 == 0;
}

}  // namespace

size_t gradient_codes_workspace_bytes() {
  // No kernel that leaves codes has more blocks and columns on a multiprocessor.
  return static_cast<size_t>(processor_count()) * 3 * 8192 * sizeof(float);
}

cudaError_t quantize_gradient_rows(const __nv_bfloat16* dy, const ColumnScales& columns,
                                   const Noise& noise, int8_t* codes, float* scale, int rows,
                                   int width, cudaStream_t stream) {
  return with_row_shape<kMaxVectors>(rows, width, [&](auto shape, int blocks) {
    launch_early(quantize_gradient_rows_kernel<decltype(shape)>, blocks, decltype(shape)::kBlock, 0,
                 stream, dy, columns, noise, codes, scale, rows, width);
  });
}

cudaError_t gradient_column_maxima(const int8_t* codes, const float* scale,
                                   const float* input_scale, uint32_t* largest, int rows, int width,
                                   cudaStream_t stream) {
  if (!valid(rows, width)) return cudaErrorInvalidValue;
  const cudaError_t status = cudaMemsetAsync(largest, 0, width * sizeof(uint32_t), stream);
  if (status != cudaSuccess) return status;
  const dim3 strips(ceil_div(width, kColumnLanes * 8), ceil_div(rows, kRowsPerBlock));
  launch_early(gradient_maxima_kernel, strips, kColumnLanes * kRowLanes, 0, stream, codes, scale,
               input_scale, largest, rows, width);
  return cudaGetLastError();
}

cudaError_t quantize_gradient_columns(const int8_t* codes, const float* scale,
                                      const ColumnScales& columns, const float* input_scale,
                                      const uint32_t* largest, const Noise& noise,
                                      int8_t* codes_transposed, float* column_scale, int rows,
                                      int width, cudaStream_t stream) {
  if (!valid(rows, width)) return cudaErrorInvalidValue;
  const dim3 tiles(ceil_div(width, kTileColumns), ceil_div(rows, kTileRows));
  launch_early(quantize_gradient_columns_kernel, tiles, kTileThreads, 0, stream, codes, scale,
               columns, input_scale, largest, noise, codes_transposed, column_scale, rows, width);
  return cudaGetLastError();
}

}  // namespace wf::kernels

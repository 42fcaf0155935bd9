// See quantize_gradient.h for the formula. A row lives in registers as bf16; the next row's loads
// are in flight while it is worked on.
#include "device/bf16.cuh"
#include "device/column_scales.cuh"
#include "device/philox.cuh"
#include "device/quantize.cuh"
#include "device/row_reduce.cuh"
#include "device/row_shape.h"
#include "device/transpose.cuh"
#include "kernels/quantize_gradient.h"

namespace wf::kernels {
namespace {

constexpr int kMaxVectors = 8;  // per thread, see RowShape

// Larger of two pairs of magnitudes; as unsigned integers, bf16 NaNs come after infinity.
__device__ __forceinline__ uint32_t max_magnitudes(uint32_t magnitudes, uint32_t pair) {
  return __vmaxu2(magnitudes, pair & 0x7fff7fffu);
}

// A NaN fails the comparison as an infinity does.
__device__ __forceinline__ float gradient_scale(float largest) {
  return largest < INFINITY ? __fdiv_rn(127.0f, fmaxf(largest, 1e-30f)) : NAN;
}

template <class Shape>
__global__ void __launch_bounds__(Shape::kBlock, Shape::kBlocksPerSm)
    quantize_gradient_rows_kernel(const __nv_bfloat16* __restrict__ dy,
                                  const __grid_constant__ ColumnScales columns, Noise noise,
                                  int8_t* __restrict__ codes, float* __restrict__ scale, int rows,
                                  int width) {
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
  const uint32_t step = *noise.step;
  float largest = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    uint32_t pair = max_magnitudes(raw[v].x & 0x7fff7fffu, raw[v].y);
    pair = max_magnitudes(max_magnitudes(pair, raw[v].z), raw[v].w);
    const float magnitude = __uint_as_float(max(pair << 16, pair & 0xffff0000u));
    largest = max_or_nan(largest, __fmul_rn(magnitude, deltas.at(column(v))));
  }
  largest = row_reduce<Max, kThreads>(largest, exchange);
  const float s = gradient_scale(largest);
  if (row < rows && thread == 0) scale[row] = s;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (!inside(v)) continue;
    const uint64_t vector = (row * width + column(v)) / 8;
    const uint4 random = philox(
        {static_cast<uint32_t>(noise.seed), static_cast<uint32_t>(noise.seed >> 32)},
        {static_cast<uint32_t>(vector), static_cast<uint32_t>(vector >> 32), noise.tensor, step});
    const uint32_t words[4] = {random.x, random.y, random.z, random.w};
    const float factor = __fmul_rn(deltas.at(column(v)), s);
    float x[8];
    uint32_t code[8];
    unpack_bf16(raw[v], x);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float w = rounding_noise(words[i / 2] >> (16 * (i % 2)));
      code[i] = round_to_code(fmaf(x[i], factor, w));
    }
    const uint2 packed = {pack_codes(code[0], code[1], code[2], code[3]),
                          pack_codes(code[4], code[5], code[6], code[7])};
    *reinterpret_cast<uint2*>(codes + row * width + column(v)) = packed;
  }
}

constexpr int kColumnLanes = 32;  // of a block, eight columns each
constexpr int kRowLanes = 8;      // of a block
constexpr int kRowsPerBlock = 256;

// largest[n] = max over rows of |x|, as bits: those of magnitudes ascend like the values, NaN last.
__global__ void __launch_bounds__(kColumnLanes* kRowLanes)
    column_maximum_kernel(const __nv_bfloat16* __restrict__ dy,
                          const float* __restrict__ input_scale, uint32_t* __restrict__ largest,
                          int rows, int width) {
  __shared__ float exchange[kRowLanes][kColumnLanes * 8 + 8];
  const int lane = threadIdx.x % kColumnLanes, row_lane = threadIdx.x / kColumnLanes;
  const int column = (blockIdx.x * kColumnLanes + lane) * 8;
  float top[8] = {};
  if (column < width) {
    const int end = min(rows, (static_cast<int>(blockIdx.y) + 1) * kRowsPerBlock);
#pragma unroll 4
    for (int row = blockIdx.y * kRowsPerBlock + row_lane; row < end; row += kRowLanes) {
      float x[8];
      unpack_bf16(load_vector(dy + static_cast<size_t>(row) * width + column), x);
      const float inverse = __fdiv_rn(1.0f, input_scale[row]);
#pragma unroll
      for (int i = 0; i < 8; ++i) top[i] = max_or_nan(top[i], fabsf(__fmul_rn(x[i], inverse)));
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

__global__ void __launch_bounds__(kCodeTileThreads, 4)
    quantize_gradient_columns_kernel(const __nv_bfloat16* __restrict__ dy,
                                     const float* __restrict__ input_scale,
                                     const uint32_t* __restrict__ largest, Noise noise,
                                     int8_t* __restrict__ codes_transposed,
                                     float* __restrict__ scale, int rows, int width) {
  __shared__ CodeTile tile;
  const int tile_row = blockIdx.y * kCodeTile, tile_column = blockIdx.x * kCodeTile;
  const int row = tile_row + threadIdx.x / 16 * 4, column = tile_column + threadIdx.x % 16 * 4;
  uint32_t words[4] = {};
  if (row < rows && column < width) {
    uint2 raw[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      raw[i] = *reinterpret_cast<const uint2*>(dy + static_cast<size_t>(row + i) * width + column);
    }
    float s[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) s[j] = gradient_scale(__uint_as_float(largest[column + j]));
    if (row == 0) *reinterpret_cast<float4*>(scale + column) = {s[0], s[1], s[2], s[3]};
    const uint64_t block = static_cast<uint64_t>(row / 4) * (width / 4) + column / 4;
    const uint2 key = {static_cast<uint32_t>(noise.seed), static_cast<uint32_t>(noise.seed >> 32)};
    const uint32_t step = *noise.step;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint64_t v = 2 * block + half;
      const uint4 random = philox(
          key, {static_cast<uint32_t>(v), static_cast<uint32_t>(v >> 32), noise.tensor, step});
      const uint32_t bits[4] = {random.x, random.y, random.z, random.w};
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        const int i = 2 * half + k;
        const float inverse = __fdiv_rn(1.0f, input_scale[row + i]);
        const float x[4] = {
            __uint_as_float(raw[i].x << 16), __uint_as_float(raw[i].x & 0xffff0000u),
            __uint_as_float(raw[i].y << 16), __uint_as_float(raw[i].y & 0xffff0000u)};
        uint32_t code[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float w = rounding_noise(bits[2 * k + j / 2] >> (16 * (j % 2)));
          code[j] = round_to_code(fmaf(__fmul_rn(x[j], inverse), s[j], w));
        }
        words[i] = pack_codes(code[0], code[1], code[2], code[3]);
      }
    }
  }
  tile.store_transposed(words, codes_transposed, rows, tile_row, tile_column, rows, width);
}

}  // namespace

cudaError_t quantize_gradient_rows(const __nv_bfloat16* dy, const ColumnScales& columns,
                                   const Noise& noise, int8_t* codes, float* scale, int rows,
                                   int width, cudaStream_t stream) {
  return with_row_shape<kMaxVectors>(rows, width, [&](auto shape, int blocks) {
    quantize_gradient_rows_kernel<decltype(shape)><<<blocks, decltype(shape)::kBlock, 0, stream>>>(
        dy, columns, noise, codes, scale, rows, width);
  });
}

cudaError_t quantize_gradient_columns(const __nv_bfloat16* dy, const float* input_scale,
                                      const Noise& noise, int8_t* codes_transposed, float* scale,
                                      uint32_t* largest, int rows, int width, cudaStream_t stream) {
  if (rows < 16 || width < 16 || rows % 16 != 0 || width % 16 != 0) return cudaErrorInvalidValue;
  const auto ceil_div = [](int a, int b) { return static_cast<unsigned>((a + b - 1) / b); };
  const cudaError_t status = cudaMemsetAsync(largest, 0, width * sizeof(uint32_t), stream);
  if (status != cudaSuccess) return status;
  const dim3 strips(ceil_div(width, kColumnLanes * 8), ceil_div(rows, kRowsPerBlock));
  column_maximum_kernel<<<strips, kColumnLanes * kRowLanes, 0, stream>>>(dy, input_scale, largest,
                                                                         rows, width);
  const dim3 tiles(ceil_div(width, kCodeTile), ceil_div(rows, kCodeTile));
  quantize_gradient_columns_kernel<<<tiles, kCodeTileThreads, 0, stream>>>(
      dy, input_scale, largest, noise, codes_transposed, scale, rows, width);
  return cudaGetLastError();
}

}  // namespace wf::kernels

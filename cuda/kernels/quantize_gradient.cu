// See quantize_gradient.h for the formula. A row lives in registers as bf16; the next row's loads
// are in flight while it is worked on.
#include "device/bf16.cuh"
#include "device/column_scales.cuh"
#include "device/philox.cuh"
#include "device/quantize.cuh"
#include "device/row_reduce.cuh"
#include "device/row_shape.h"
#include "kernels/quantize_gradient.h"

namespace wf::kernels {
namespace {

constexpr int kMaxVectors = 8;  // per thread, see RowShape

// Larger of two pairs of magnitudes; as unsigned integers, bf16 NaNs come after infinity.
__device__ __forceinline__ uint32_t max_magnitudes(uint32_t magnitudes, uint32_t pair) {
  return __vmaxu2(magnitudes, pair & 0x7fff7fffu);
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
  // A NaN fails the comparison as an infinity does.
  const float s = largest < INFINITY ? __fdiv_rn(127.0f, fmaxf(largest, 1e-30f)) : NAN;
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

}  // namespace

cudaError_t quantize_gradient_rows(const __nv_bfloat16* dy, const ColumnScales& columns,
                                   const Noise& noise, int8_t* codes, float* scale, int rows,
                                   int width, cudaStream_t stream) {
  return with_row_shape<kMaxVectors>(rows, width, [&](auto shape, int blocks) {
    quantize_gradient_rows_kernel<decltype(shape)><<<blocks, decltype(shape)::kBlock, 0, stream>>>(
        dy, columns, noise, codes, scale, rows, width);
  });
}

}  // namespace wf::kernels

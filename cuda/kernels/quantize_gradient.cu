// See quantize_gradient.h for the formula. A row lives in registers as bf16; the next row's loads are
// in flight while it is worked on.
#include "kernels/quantize_gradient.h"

#include "device/bf16.cuh"
#include "device/column_scales.cuh"
#include "device/philox.cuh"
#include "device/quantize.cuh"
#include "device/row_reduce.cuh"

namespace wf::kernels {
namespace {

template <class Shape>
__global__ void __launch_bounds__(kBlockThreads, Shape::kBlocksPerSm)
    quantize_gradient_rows_kernel(const __nv_bfloat16* __restrict__ dy,
                                  const __grid_constant__ ColumnScales columns, Noise noise,
                                  int8_t* __restrict__ codes, float* __restrict__ scale, int rows,
                                  int width) {
  constexpr int kThreads = Shape::kThreads, kVectors = Shape::kVectors;
  __shared__ float exchange[2][kBlockThreads / 32];
  const int thread = threadIdx.x % kThreads;
  const auto column = [&](int v) { return (v * kThreads + thread) * 8; };
  const auto at = [&](int row, int v) { return static_cast<size_t>(row) * width + column(v); };
  const LoadedScales deltas(columns);
  const uint32_t noise_step = *noise.step;
  uint4 raw[kVectors];
  const auto fetch = [&](int row) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (row < rows && column(v) < width) raw[v] = load_vector(dy + at(row, v));
    }
  };

  const int step = gridDim.x * Shape::kRows;
  int row = blockIdx.x * Shape::kRows + threadIdx.x / kThreads;
  fetch(row);
  for (int first = blockIdx.x * Shape::kRows, turn = 0; first < rows;
       first += step, row += step, turn ^= 1) {
    float x[kVectors][8];
    float largest = 0;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (row < rows && column(v) < width) {
        const float delta = deltas.at(column(v));
        unpack_bf16(raw[v], x[v]);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          x[v][i] = __fmul_rn(x[v][i], delta);
          largest = max_or_nan(largest, fabsf(x[v][i]));
        }
      }
    }
    fetch(row + step);
    largest = row_reduce<Max, kThreads>(largest, exchange[turn]);
    // A NaN fails the comparison as an infinity does.
    const float s = largest < INFINITY ? __fdiv_rn(127.0f, fmaxf(largest, 1e-30f)) : NAN;
    if (row < rows && thread == 0) scale[row] = s;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (row < rows && column(v) < width) {
        const uint64_t vector = at(row, v) / 8;
        const uint4 random =
            philox({static_cast<uint32_t>(noise.seed), static_cast<uint32_t>(noise.seed >> 32)},
                   {static_cast<uint32_t>(vector), static_cast<uint32_t>(vector >> 32),
                    noise.tensor, noise_step});
        const uint32_t words[4] = {random.x, random.y, random.z, random.w};
        uint32_t code[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const float w = rounding_noise(words[i / 2] >> (16 * (i % 2)));
          code[i] = round_to_code(__fadd_rn(__fmul_rn(x[v][i], s), w));
        }
        *reinterpret_cast<uint2*>(codes + at(row, v)) = {
            pack_codes(code[0], code[1], code[2], code[3]),
            pack_codes(code[4], code[5], code[6], code[7])};
      }
    }
  }
}

}  // namespace

cudaError_t quantize_gradient_rows(const __nv_bfloat16* dy, const ColumnScales& columns,
                                   const Noise& noise, int8_t* codes, float* scale, int rows,
                                   int width, cudaStream_t stream) {
  return with_row_shape(rows, width, [&](auto shape, int blocks) {
    quantize_gradient_rows_kernel<decltype(shape)>
        <<<blocks, kBlockThreads, 0, stream>>>(dy, columns, noise, codes, scale, rows, width);
  });
}

}  // namespace wf::kernels

// See rms_norm_backward.h for the formula. A row is read once and lives in registers as bf16; what
// it adds to dgain is kept in shared memory, every thread adding to its own columns, until the
// block has walked all its rows. A second launch adds up the blocks.
#include <type_traits>

#include "device/bf16.cuh"
#include "device/block_partials.cuh"
#include "device/glu.cuh"
#include "device/processors.h"
#include "device/row_codes.cuh"
#include "device/row_reduce.cuh"
#include "device/row_shape.h"
#include "kernels/rms_norm_backward.h"

namespace wf::kernels {
namespace {

constexpr int kMaxVectors = 3;  // per thread, see RowShape

// Leaves each thread about 128 registers, which two passes over a row take.
constexpr int blocks_per_sm(int threads) { return threads <= 256 ? 2 : 1; }
constexpr int kMaxWidth = 8192;

struct Raw {
  uint4 first, second;
};

// Hides from the compiler that v is what it was: it computes again from v instead of keeping
// results in registers, of which there are fewer than the second pass over a row would use.
__device__ __forceinline__ void forget(uint4& v) {
  asm volatile("" : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w));
}

// Sources: load() fetches what eight elements need beside dy, expand() computes h, gradients()
// turns dh into what is written: rows of kOutputs parts of `width` each, at out.
struct Plain {
  static constexpr int kOutputs = 1;
  const __nv_bfloat16* h;
  const __nv_bfloat16* residual_gradient;
  __nv_bfloat16* out;
  int width;

  __device__ Raw load(size_t row, int column) const {
    const size_t at = row * width + column;
    return {load_vector(h + at),
            residual_gradient != nullptr ? load_vector(residual_gradient + at) : uint4{}};
  }
  __device__ void expand(const Raw& raw, float (&h)[8]) const { unpack_bf16(raw.first, h); }
  __device__ void gradients(const Raw& raw, float (&dh)[8], uint4 (&written)[kOutputs]) const {
    float residual[8];
    unpack_bf16(raw.second, residual);
#pragma unroll
    for (int i = 0; i < 8; ++i) dh[i] += residual[i];
    written[0] = pack_bf16(dh);
  }
};

template <class Activation>
struct Glu {
  static constexpr int kOutputs = 2;
  const __nv_bfloat16* gate_up;
  __nv_bfloat16* out;
  int width;

  __device__ Raw load(size_t row, int column) const {
    const __nv_bfloat16* at = gate_up + 2 * row * width + column;
    return {load_vector(at), load_vector(at + width)};
  }
  __device__ void expand(const Raw& raw, float (&h)[8]) const {
    float up[8];
    unpack_bf16(raw.first, h);
    unpack_bf16(raw.second, up);
#pragma unroll
    for (int i = 0; i < 8; ++i) h[i] = __fmul_rn(Activation::value(h[i]), up[i]);
  }
  __device__ void gradients(const Raw& raw, float (&dh)[8], uint4 (&written)[kOutputs]) const {
    float gate[8], up[8];
    unpack_bf16(raw.first, gate);
    unpack_bf16(raw.second, up);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float dgate = dh[i] * up[i] * Activation::derivative(gate[i]);
      up[i] = dh[i] * Activation::value(gate[i]);
      gate[i] = dgate;
    }
    written[0] = pack_bf16(gate);
    written[1] = pack_bf16(up);
  }
};

struct Gain {
  float value[8];
  __device__ Gain(const float* gain, int column) { load_eight(gain + column, value); }
};

// A block's sums for dgain: [row of the block][vector][half of the vector][thread of the row].
template <class Shape>
constexpr int kSumsPerRow = Shape::kVectors * 2 * Shape::kThreads;

// First of the four columns of one of them.
template <class Shape>
__device__ __forceinline__ int column_of(int index) {
  const int vector = index / (2 * Shape::kThreads), half = index / Shape::kThreads % 2;
  return (vector * Shape::kThreads + index % Shape::kThreads) * 8 + half * 4;
}

// With kCodes the maxima of the columns of what is written stand behind the sums, laid out as they
// are, for each part of a row.
template <class Shape, class Source, bool kCodes>
constexpr int kSharedBytes =
    Shape::kRows * kSumsPerRow<Shape> * (kCodes ? 1 + Source::kOutputs : 1) * sizeof(float4);

template <class Shape, class Source, bool kCodes>
__global__ void __launch_bounds__(Shape::kBlock, blocks_per_sm(Shape::kBlock))
    norm_backward_kernel(Source source, const __nv_bfloat16* __restrict__ dy,
                         const float* __restrict__ rstd, const float* __restrict__ gain,
                         float inverse_width, float4* __restrict__ partial,
                         const __grid_constant__ GradientCodes wanted, int rows, int width) {
  constexpr int kThreads = Shape::kThreads, kVectors = Shape::kVectors, kRows = Shape::kRows;
  constexpr int kOutputs = Source::kOutputs;
  extern __shared__ float4 sums[];
  __shared__ float exchange[2][Shape::kBlock / 32];
  const int thread = threadIdx.x % kThreads, group = threadIdx.x / kThreads;
  const auto column = [&](int v) { return (v * kThreads + thread) * 8; };
  float4* own = sums + group * kSumsPerRow<Shape> + thread;
  float4* tops = sums + kRows * kSumsPerRow<Shape>;
  const auto top = [&](int v, int output, int half) -> float4& {
    return tops[(group * kOutputs + output) * kSumsPerRow<Shape> + (2 * v + half) * kThreads +
                thread];
  };
#pragma unroll
  for (int i = 0; i < kVectors * 2; ++i) own[i * kThreads] = {};
  if constexpr (kCodes) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
#pragma unroll
      for (int i = 0; i < kOutputs * 2; ++i) top(v, i / 2, i % 2) = {};
    }
  }
  std::conditional_t<kCodes, RowCodes, NoCodes> codes(wanted, kOutputs * width);

  for (int first = blockIdx.x * kRows, turn = 0; first < rows;
       first += gridDim.x * kRows, turn ^= 1) {
    const int row = first + group;
    const auto inside = [&](int v) { return row < rows && column(v) < width; };
    uint4 raw_dy[kVectors];
    Raw raw[kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      raw_dy[v] =
          inside(v) ? load_vector(dy + static_cast<size_t>(row) * width + column(v)) : uint4{};
      raw[v] = inside(v) ? source.load(row, column(v)) : Raw{};
    }
    const float r = row < rows ? rstd[row] : 0.0f;
    float dot = 0;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const Gain g(gain, column(v) < width ? column(v) : 0);
      float d[8], h[8], added[8];
      unpack_bf16(raw_dy[v], d);
      source.expand(raw[v], h);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        added[i] = d[i] * (h[i] * r);
        dot += added[i] * g.value[i];
      }
      float4& low = own[2 * v * kThreads];
      float4& high = own[(2 * v + 1) * kThreads];
      low = {low.x + added[0], low.y + added[1], low.z + added[2], low.w + added[3]};
      high = {high.x + added[4], high.y + added[5], high.z + added[6], high.w + added[7]};
    }
    // With codes a second reduction lies between this one and the next row's.
    const float c = row_reduce<Sum, kThreads>(dot, exchange[kCodes ? 0 : turn]) * inverse_width;
    asm volatile("" : "+l"(gain));
    uint4 written[kVectors][kOutputs];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      forget(raw_dy[v]);
      forget(raw[v].first);
      forget(raw[v].second);
      const Gain g(gain, column(v) < width ? column(v) : 0);
      float d[8], h[8];
      unpack_bf16(raw_dy[v], d);
      source.expand(raw[v], h);
#pragma unroll
      for (int i = 0; i < 8; ++i) d[i] = r * (d[i] * g.value[i] - h[i] * r * c);
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) written[v][o] = {};
      if (!inside(v)) continue;
      source.gradients(raw[v], d, written[v]);
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
        store_vector(source.out + (static_cast<size_t>(row) * kOutputs + o) * width + column(v),
                     written[v][o]);
      }
    }
    if constexpr (kCodes) {
      float largest = 0;
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
#pragma unroll
        for (int o = 0; o < kOutputs; ++o) {
          if (inside(v)) {
            largest = max_or_nan(largest, codes.largest(written[v][o], o * width + column(v)));
          }
        }
      }
      codes.template scale<kThreads>(largest, row, row < rows && thread == 0, exchange[1]);
      const float inverse =
          codes.wants_columns() && row < rows ? codes.inverse_input_scale(row) : 0.0f;
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
#pragma unroll
        for (int o = 0; o < kOutputs; ++o) {
          forget(written[v][o]);
          if (!inside(v)) continue;
          codes.write(written[v][o], row, o * width + column(v));
          if (codes.wants_columns()) {
            codes.raise(top(v, o, 0), top(v, o, 1), written[v][o], inverse);
          }
        }
      }
    }
  }

  __syncthreads();
  for (int i = threadIdx.x; i < kSumsPerRow<Shape>; i += Shape::kBlock) {
    float4 sum = sums[i];
#pragma unroll
    for (int other = 1; other < kRows; ++other) {
      sum = add(sum, sums[other * kSumsPerRow<Shape> + i]);
    }
    partial[static_cast<size_t>(blockIdx.x) * kSumsPerRow<Shape> + i] = sum;
  }
  if constexpr (kCodes) {
    if (!codes.wants_columns()) return;
    for (int i = threadIdx.x; i < kOutputs * kSumsPerRow<Shape>; i += Shape::kBlock) {
      float4 most = tops[i];
#pragma unroll
      for (int other = 1; other < kRows; ++other) {
        most = codes.larger(most, tops[other * kOutputs * kSumsPerRow<Shape> + i]);
      }
      const int its_column = column_of<Shape>(i % kSumsPerRow<Shape>);
      if (its_column < width) codes.publish(most, i / kSumsPerRow<Shape> * width + its_column);
    }
  }
}

// Adds up the blocks' sums.
template <class Shape>
__global__ void __launch_bounds__(kSumThreads)
    dgain_kernel(const float4* __restrict__ partial, int blocks, float* __restrict__ dgain,
                 bool accumulate, int width) {
  const int index = blockIdx.x * kSumLanes + threadIdx.x % kSumLanes;
  float4 sum = sum_of_blocks(partial, blocks, kSumsPerRow<Shape>, index);
  if (threadIdx.x >= kSumLanes) return;
  const int column = column_of<Shape>(index);
  if (column >= width) return;
  float4* to = reinterpret_cast<float4*>(dgain + column);
  if (accumulate) sum = add(*to, sum);
  *to = sum;
}

template <class Source>
cudaError_t launch(const Source& source, const __nv_bfloat16* dy, const float* rstd,
                   const float* gain, float* dgain, bool accumulate, void* workspace, int rows,
                   int width, const GradientCodes& codes, cudaStream_t stream) {
  if (width > kMaxWidth) return cudaErrorInvalidValue;
  const int processors = processor_count();
  if (processors == 0) return cudaErrorNoDevice;
  float4* partial = static_cast<float4*>(workspace);
  return with_row_shape<kMaxVectors>(rows, width, [&](auto shape, int blocks) {
    using Shape = decltype(shape);
    const int resident = processors * (blocks_per_sm(Shape::kBlock));
    if (blocks > resident) blocks = resident;
    const auto run = [&](auto with_codes) {
      constexpr bool kCodes = decltype(with_codes)::value;
      constexpr int kBytes = kSharedBytes<Shape, Source, kCodes>;
      const auto kernel = norm_backward_kernel<Shape, Source, kCodes>;
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
      kernel<<<blocks, Shape::kBlock, kBytes, stream>>>(source, dy, rstd, gain, 1.0f / width,
                                                        partial, codes, rows, width);
    };
    if (codes.codes != nullptr) {
      run(std::true_type{});
    } else {
      run(std::false_type{});
    }
    dgain_kernel<Shape><<<kSumsPerRow<Shape> / kSumLanes, kSumThreads, 0, stream>>>(
        partial, blocks, dgain, accumulate, width);
  });
}

}  // namespace

cudaError_t rms_norm_backward(const __nv_bfloat16* dy, const __nv_bfloat16* h, const float* rstd,
                              const float* gain, const __nv_bfloat16* residual_gradient,
                              __nv_bfloat16* dx, float* dgain, bool accumulate_dgain,
                              void* workspace, int rows, int width, const GradientCodes& codes,
                              cudaStream_t stream) {
  return launch(Plain{h, residual_gradient, dx, width}, dy, rstd, gain, dgain, accumulate_dgain,
                workspace, rows, width, codes, stream);
}

cudaError_t glu_norm_backward(const __nv_bfloat16* dy, const __nv_bfloat16* gate_up,
                              GluActivation activation, const float* rstd, const float* gain,
                              __nv_bfloat16* dgate_up, float* dgain, bool accumulate_dgain,
                              void* workspace, int rows, int width, const GradientCodes& codes,
                              cudaStream_t stream) {
  return activation == GluActivation::kSilu
             ? launch(Glu<Silu>{gate_up, dgate_up, width}, dy, rstd, gain, dgain, accumulate_dgain,
                      workspace, rows, width, codes, stream)
             : launch(Glu<Relu2>{gate_up, dgate_up, width}, dy, rstd, gain, dgain, accumulate_dgain,
                      workspace, rows, width, codes, stream);
}

size_t rms_norm_backward_workspace_bytes() {
  return static_cast<size_t>(processor_count()) * blocks_per_sm(256) * kMaxWidth * sizeof(float);
}

}  // namespace wf::kernels

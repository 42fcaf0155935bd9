// See rms_norm_backward.h for the formula. A block walks rows, a vector of eight columns to a
// thread. The copy engine brings rows into a ring in shared memory ahead of their turn; what a
// thread adds to dgain, and the maxima of its columns, stay in its registers until the block has
// walked all its rows. A second launch adds up the blocks.
#include <algorithm>
#include <type_traits>

#include "device/bf16.cuh"
#include "device/block_partials.cuh"
#include "device/block_reduce.cuh"
#include "device/early_launch.cuh"
#include "device/glu.cuh"
#include "device/pipeline.cuh"
#include "device/processors.h"
#include "device/row_codes.cuh"
#include "kernels/rms_norm_backward.h"

namespace wf::kernels {
namespace {

constexpr int kMaxWidth = 8192;
constexpr int kStages = 3;  // rows of the ring

// A block's threads, at least one for each vector of a row, and the multiprocessor's, which set the
// registers that a thread gets.
template <int kMaxThreads_, int kThreadsPerSm_>
struct Shape {
  static constexpr int kMaxThreads = kMaxThreads_, kThreadsPerSm = kThreadsPerSm_;
};
template <class Shape>
constexpr int blocks_per_sm(int threads) {
  return Shape::kThreadsPerSm / threads;
}

// Sources: what a row brings beside dy, and what becomes of dh. fetch() starts the copies of a row,
// load() takes a thread's share, expand() computes h, gradients() turns dh into what is written:
// kOutputs parts of `width` each, at out.
struct Plain {
  static constexpr int kOutputs = 1;
  const __nv_bfloat16* h;
  const __nv_bfloat16* residual_gradient;
  __nv_bfloat16* out;
  int width;

  struct Raw {
    uint4 h, residual;
  };
  struct Kept {};

  __host__ __device__ int inputs() const { return residual_gradient != nullptr ? 2 : 1; }
  __device__ void fetch(uint4* to, size_t row, uint64_t* full) const {
    bulk_load(to, h + row * width, 2 * width, full);
    if (residual_gradient != nullptr) {
      bulk_load(to + width / 8, residual_gradient + row * width, 2 * width, full);
    }
  }
  __device__ Raw load(const uint4* row) const {
    return {row[0], residual_gradient != nullptr ? row[width / 8] : uint4{}};
  }
  __device__ void expand(const Raw& raw, Kept&, float (&h)[8]) const { unpack_bf16(raw.h, h); }
  __device__ void again(const Raw& raw, const Kept&, float (&h)[8]) const { unpack_bf16(raw.h, h); }
  __device__ void gradients(const Raw& raw, const Kept&, float (&dh)[8],
                            uint4 (&written)[kOutputs]) const {
    float residual[8];
    unpack_bf16(raw.residual, residual);
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

  struct Raw {
    uint4 gate, up;
  };
  struct Kept {
    float inner[8];
  };

  __host__ __device__ int inputs() const { return 2; }
  __device__ void fetch(uint4* to, size_t row, uint64_t* full) const {
    bulk_load(to, gate_up + 2 * row * width, 4 * width, full);
  }
  __device__ Raw load(const uint4* row) const { return {row[0], row[width / 8]}; }
  __device__ void expand(const Raw& raw, Kept& kept, float (&h)[8]) const {
    unpack_bf16(raw.gate, h);
#pragma unroll
    for (int i = 0; i < 8; ++i) kept.inner[i] = Activation::inner(h[i]);
    again(raw, kept, h);
  }
  __device__ void again(const Raw& raw, const Kept& kept, float (&h)[8]) const {
    float up[8];
    unpack_bf16(raw.gate, h);
    unpack_bf16(raw.up, up);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      h[i] = __fmul_rn(Activation::value(h[i], kept.inner[i]), up[i]);
    }
  }
  __device__ void gradients(const Raw& raw, const Kept& kept, float (&dh)[8],
                            uint4 (&written)[kOutputs]) const {
    float gate[8], up[8];
    unpack_bf16(raw.gate, gate);
    unpack_bf16(raw.up, up);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float inner = kept.inner[i];
      const float dgate = dh[i] * up[i] * Activation::derivative(gate[i], inner);
      up[i] = dh[i] * Activation::value(gate[i], inner);
      gate[i] = dgate;
    }
    written[0] = pack_bf16(gate);
    written[1] = pack_bf16(up);
  }
};

template <class Source, bool kCodes, class Shape>
__global__ void __launch_bounds__(Shape::kMaxThreads, blocks_per_sm<Shape>(Shape::kMaxThreads))
    norm_backward_kernel(Source source, const __nv_bfloat16* __restrict__ dy,
                         const float* __restrict__ rstd, const float* __restrict__ gain,
                         float inverse_width, float4* __restrict__ partial,
                         const __grid_constant__ GradientCodes wanted, int rows, int width) {
  wait_for_predecessor();
  constexpr int kOutputs = Source::kOutputs;
  extern __shared__ uint4 ring[];  // [stage][dy, then the source's inputs][vector]
  __shared__ uint64_t full[kStages];
  __shared__ float exchange[2][32];
  const int vectors = width / 8, stage_size = (1 + source.inputs()) * vectors;
  const int vector = threadIdx.x, column = 8 * vector;
  const bool inside = vector < vectors;
  const auto fetch = [&](int row, int stage) {
    uint4* to = ring + stage * stage_size;
    barrier_expect(&full[stage], stage_size * sizeof(uint4));
    bulk_load(to, dy + static_cast<size_t>(row) * width, 2 * width, &full[stage]);
    source.fetch(to + vectors, row, &full[stage]);
  };
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) barrier_init(&full[stage], 1);
    barrier_init_fence();
    for (int stage = 0; stage < kStages; ++stage) {
      const int row = blockIdx.x + stage * gridDim.x;
      if (row < rows) fetch(row, stage);
    }
  }
  std::conditional_t<kCodes, RowCodes, NoCodes> codes(wanted, kOutputs * width);
  float sum[8] = {}, delta[kOutputs];
  // Column maxima: in registers where one output needs them, in shared memory where two do.
  float4 own_tops[2] = {};
  float4* shared_tops = reinterpret_cast<float4*>(ring + kStages * stage_size) + threadIdx.x;
  const auto top = [&](int output, int half) -> float4& {
    if constexpr (kOutputs > 1) return shared_tops[(output * 2 + half) * blockDim.x];
    return own_tops[half];
  };
  if constexpr (kCodes) {
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
      top(o, 0) = top(o, 1) = {};
      delta[o] = codes.delta(o * width + column);
    }
  }
  __syncthreads();

  // Of the row to come, so that nobody waits for memory.
  float next_r = blockIdx.x < rows ? rstd[blockIdx.x] : 0.0f, next_input_scale = 1;
  if constexpr (kCodes) next_input_scale = codes.input_scale(blockIdx.x, rows);
  int stage = 0, parity = 0;
  for (int row = blockIdx.x, turn = 0; row < rows; row += gridDim.x, ++turn) {
    const float r = next_r, input_scale = next_input_scale;
    const int next = row + gridDim.x;
    if (next < rows) next_r = rstd[next];
    if constexpr (kCodes) next_input_scale = codes.input_scale(next, rows);
    barrier_wait(&full[stage], parity);
    int at = stage * stage_size + vector;
    typename Source::Kept kept;
    float dot = 0;
    if (inside) {
      float d[8], h[8], g[8];
      unpack_bf16(ring[at], d);
      load_eight(gain + column, g);
      source.expand(source.load(ring + at + vectors), kept, h);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float product = d[i] * h[i];
        sum[i] += product * r;
        dot += product * g[i];
      }
    }
    dot = block_sum(dot, exchange[kCodes ? 0 : turn & 1]);
    const float along_h = r * r * r * inverse_width * dot;
    // Every thread is done with the row before, so its place in the ring is free.
    if (threadIdx.x == 0 && turn > 0) {
      const int to_come = row + (kStages - 1) * gridDim.x;
      if (to_come < rows) fetch(to_come, stage == 0 ? kStages - 1 : stage - 1);
    }
    // Loads and unpacks once more rather than keep eight registers of each, of which there are few.
    int again = 0;
    asm volatile("" : "+r"(at), "+r"(again));
    uint4 written[kOutputs];
    float largest = 0;
    if (inside) {
      float d[8], h[8], g[8];
      unpack_bf16(ring[at], d);
      load_eight(gain + again + column, g);
      const typename Source::Raw raw = source.load(ring + at + vectors);
      source.again(raw, kept, h);
#pragma unroll
      for (int i = 0; i < 8; ++i) d[i] = d[i] * (r * g[i]) - h[i] * along_h;
      source.gradients(raw, kept, d, written);
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
        if (!kCodes || source.out != nullptr) {
          store_vector(source.out + (static_cast<size_t>(row) * kOutputs + o) * width + column,
                       written[o]);
        }
        if constexpr (kCodes) largest = max_or_nan(largest, codes.largest(written[o], delta[o]));
      }
    }
    if constexpr (kCodes) {
      codes.scale(block_maximum(largest, exchange[1]), row, threadIdx.x == 0);
      const RowCodes::Reach reach = codes.reach(input_scale);
      if (inside) {
#pragma unroll
        for (int o = 0; o < kOutputs; ++o) {
          codes.write(written[o], row, o * width + column, delta[o]);
          if (codes.wants_columns()) codes.raise(top(o, 0), top(o, 1), written[o], delta[o], reach);
        }
      }
    }
    if (++stage == kStages) stage = 0, parity ^= 1;
  }

  if (!inside) return;
  float4* to = partial + (static_cast<size_t>(blockIdx.x) * vectors + vector) * 2;
  to[0] = {sum[0], sum[1], sum[2], sum[3]};
  to[1] = {sum[4], sum[5], sum[6], sum[7]};
  if constexpr (kCodes) {
    if (!codes.wants_columns()) return;
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
      codes.leave(top(o, 0), o * width + column);
      codes.leave(top(o, 1), o * width + column + 4);
    }
  }
}

// Adds up the blocks' sums.
__global__ void __launch_bounds__(kSumThreads)
    dgain_kernel(const float4* __restrict__ partial, int blocks, float* __restrict__ dgain,
                 bool accumulate, int width) {
  wait_for_predecessor();
  const int index = blockIdx.x * kSumLanes + threadIdx.x % kSumLanes;
  float4 sum = over_blocks<Sum>(partial, blocks, width / 4, index);
  if (threadIdx.x >= kSumLanes || index >= width / 4) return;
  float4* to = reinterpret_cast<float4*>(dgain) + index;
  if (accumulate) sum = apply<Sum>(*to, sum);
  *to = sum;
}

template <class Source>
cudaError_t launch(const Source& source, const __nv_bfloat16* dy, const float* rstd,
                   const float* gain, float* dgain, bool accumulate, void* workspace, int rows,
                   int width, const GradientCodes& codes, cudaStream_t stream) {
  if (rows < 1 || width < 16 || width % 16 != 0 || width > kMaxWidth) return cudaErrorInvalidValue;
  const int processors = processor_count();
  if (processors == 0) return cudaErrorNoDevice;
  const int vectors = width / 8;
  bool launched = false;
  const auto offer = [&](auto shape) {
    using Shape = decltype(shape);
    if (launched || vectors > Shape::kMaxThreads) return;
    launched = true;
    const int threads = (vectors + 31) / 32 * 32;
    const int blocks = std::min(rows, processors * blocks_per_sm<Shape>(threads));
    const auto run = [&](auto with_codes) {
      constexpr bool kCodes = decltype(with_codes)::value;
      const int tops = kCodes && Source::kOutputs > 1 ? 2 * Source::kOutputs * threads : 0;
      const int bytes = (kStages * (1 + source.inputs()) * vectors + tops) * int(sizeof(uint4));
      const auto kernel = norm_backward_kernel<Source, kCodes, Shape>;
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
      launch_early(kernel, blocks, threads, bytes, stream, source, dy, rstd, gain, 1.0f / width,
                   static_cast<float4*>(workspace), codes, rows, width);
    };
    if (codes.codes != nullptr) {
      run(std::true_type{});
    } else {
      run(std::false_type{});
    }
    launch_early(dgain_kernel, (width / 4 + kSumLanes - 1) / kSumLanes, kSumThreads, 0, stream,
                 static_cast<const float4*>(workspace), blocks, dgain, accumulate, width);
    finish_columns(codes, blocks, Source::kOutputs * width, stream);
  };
  offer(Shape<384, 768>{});
  offer(Shape<640, 640>{});
  offer(Shape<1024, 1024>{});
  return cudaGetLastError();
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
  // Blocks on a multiprocessor and a row's width never multiply to more.
  return static_cast<size_t>(processor_count()) * 2 * kMaxWidth * sizeof(float);
}

}  // namespace wf::kernels

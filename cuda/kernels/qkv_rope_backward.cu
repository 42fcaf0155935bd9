// See qkv_rope.h for the formulas, device/qkv_layout.cuh for who does what.
#include <algorithm>
#include <type_traits>

#include "device/bf16.cuh"
#include "device/block_partials.cuh"
#include "device/early_launch.cuh"
#include "device/processors.h"
#include "device/qkv_layout.cuh"
#include "device/rotate.cuh"
#include "device/row_codes.cuh"
#include "kernels/qkv_rope.h"

namespace wf::kernels {
namespace {

// Blocks of 256 threads per multiprocessor.
constexpr int blocks_per_sm(bool norm, bool codes) { return norm ? 2 : codes ? 3 : 4; }

struct Backward {
  HeadsView dq, dk, dv;
  const __nv_bfloat16* qkv;
  const float *rstd, *q_gain, *k_gain;
  float inverse_head_dim;
  const int64_t* positions;
  const float *cos, *sin;
  __nv_bfloat16* dqkv;
  float* partial;  // [blocks, 2, head_dim]: the blocks' sums for the gains of q and of k
};

// Of a head of a token in attention's gradients.
__device__ __forceinline__ const __nv_bfloat16* gradient_of(const Backward& p,
                                                            const QkvLayout& layout, int batch,
                                                            int place, int head) {
  const bool is_q = head < layout.heads, is_k = head < layout.rotated;
  const HeadsView& view = is_q ? p.dq : is_k ? p.dk : p.dv;
  const int own = is_q ? head : head - (is_k ? layout.heads : layout.rotated);
  return view.data + batch * view.batch_stride + place * view.token_stride + own * view.head_stride;
}

template <int kThreads_>
struct TokenShape {
  static constexpr int kThreads = kThreads_;                      // per token
  static constexpr int kBlock = kThreads < 256 ? 256 : kThreads;  // threads
  static constexpr int kRows = kBlock / kThreads;                 // tokens per block
};

// With norms every thread keeps what it adds to the gains of its place, of each of its heads, in
// shared memory: [head of the thread][quarter of its 16 components][thread]. With codes the maxima
// of its columns follow, likewise.
template <class Shape>
constexpr int kSums = kPairs * 4 * Shape::kBlock;

template <class Shape, bool kNorm, bool kCodes>
__global__ void __launch_bounds__(Shape::kBlock,
                                  std::max(1, blocks_per_sm(kNorm, kCodes) * 256 / Shape::kBlock))
    backward_kernel(const __grid_constant__ Backward p, const __grid_constant__ QkvLayout layout,
                    const __grid_constant__ GradientCodes wanted, int sequence, int tokens) {
  wait_for_predecessor();
  constexpr int kThreads = Shape::kThreads, kRows = Shape::kRows;
  extern __shared__ float4 shared[];
  __shared__ float exchange[2][Shape::kBlock / 32];
  const int thread = threadIdx.x % kThreads, group = threadIdx.x / kThreads;
  const int first = (thread & (layout.lanes - 1)) * 8;
  const bool works = first < layout.half;
  const int all_heads = layout.rotated + layout.kv_heads;
  const auto head = [&](int i) { return (i * kThreads + thread) >> layout.lane_bits; };
  const auto column = [&](int i, int half) {
    return head(i) * layout.head_dim + half * layout.half + first;
  };
  float4* tops = shared + (kNorm ? kSums<Shape> : 0);
  const auto sum = [&](int i, int quarter) -> float4& {
    return shared[(i * 4 + quarter) * Shape::kBlock + threadIdx.x];
  };
  const auto top = [&](int i, int quarter) -> float4& {
    return tops[(i * 4 + quarter) * Shape::kBlock + threadIdx.x];
  };
#pragma unroll
  for (int i = 0; i < kPairs * 4; ++i) {
    if constexpr (kNorm) sum(0, i) = {};
    if constexpr (kCodes) top(0, i) = {};
  }
  std::conditional_t<kCodes, RowCodes, NoCodes> codes(wanted, layout.row_width);

  for (int token = blockIdx.x * kRows + group, turn = 0; token - group < tokens;
       token += gridDim.x * kRows, turn ^= 1) {
    const auto inside = [&](int i) { return works && token < tokens && head(i) < all_heads; };
    const int batch = token / sequence, at = token % sequence;
    float input_scale = 1;
    if constexpr (kCodes) input_scale = codes.input_scale(token, tokens);
    uint4 low[kPairs], high[kPairs], x_low[kPairs], x_high[kPairs];
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const __nv_bfloat16* from = gradient_of(p, layout, batch, at, head(i)) + first;
      low[i] = inside(i) ? load_vector(from) : uint4{};
      high[i] = inside(i) ? load_vector(from + layout.half) : uint4{};
      if constexpr (kNorm) {
        const bool normed = inside(i) && head(i) < layout.rotated;
        from = p.qkv + static_cast<size_t>(token) * layout.row_width + head(i) * layout.head_dim +
               first;
        x_low[i] = normed ? load_vector(from) : uint4{};
        x_high[i] = normed ? load_vector(from + layout.half) : uint4{};
      }
    }
    const int64_t position = works && token < tokens ? p.positions[token] : 0;
    const Rotation rotation(p.cos, p.sin, position, layout.half, works ? first : 0);
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const bool rotates = head(i) < layout.rotated;
      float d[2][8];
      unpack_bf16(low[i], d[0]);
      unpack_bf16(high[i], d[1]);
      rotation.apply<-1>(d[0], d[1]);
      if constexpr (kNorm) {
        const bool normed = inside(i) && rotates;
        const float r =
            normed ? p.rstd[static_cast<size_t>(token) * layout.rotated + head(i)] : 0.0f;
        const float* gain = (head(i) < layout.heads ? p.q_gain : p.k_gain) + (works ? first : 0);
        float n[2][8], dot = 0;
        unpack_bf16(x_low[i], n[0]);
        unpack_bf16(x_high[i], n[1]);
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float g[8];
          load_eight(gain + h * layout.half, g);
          float added[8];
#pragma unroll
          for (int j = 0; j < 8; ++j) {
            n[h][j] *= r;
            added[j] = d[h][j] * n[h][j];
            d[h][j] *= g[j];
            dot += d[h][j] * n[h][j];
          }
          float4& s0 = sum(i, 2 * h);
          float4& s1 = sum(i, 2 * h + 1);
          s0 = apply<Sum>(s0, {added[0], added[1], added[2], added[3]});
          s1 = apply<Sum>(s1, {added[4], added[5], added[6], added[7]});
        }
        const float c = head_sum(dot, layout.lanes) * p.inverse_head_dim;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
#pragma unroll
          for (int j = 0; j < 8; ++j) d[h][j] = r * (d[h][j] - n[h][j] * c);
        }
      }
      if (rotates) {
        low[i] = pack_bf16(d[0]);
        high[i] = pack_bf16(d[1]);
      }
      if (!inside(i) || (kCodes && p.dqkv == nullptr)) continue;
      __nv_bfloat16* to = p.dqkv + static_cast<size_t>(token) * layout.row_width;
      store_vector(to + column(i, 0), low[i]);
      store_vector(to + column(i, 1), high[i]);
    }
    if constexpr (kCodes) {
      float largest = 0;
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        if (!inside(i)) continue;
        const float delta = codes.delta(column(i, 0));  // of the whole head
        largest = max_or_nan(largest, codes.largest(low[i], delta));
        largest = max_or_nan(largest, codes.largest(high[i], delta));
      }
      largest = row_reduce<Max, kThreads>(largest, exchange[turn]);
      codes.scale(largest, token, token < tokens && thread == 0);
      const RowCodes::Reach reach = codes.reach(input_scale);
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        if (!inside(i)) continue;
        const float delta = codes.delta(column(i, 0));
        codes.write(low[i], token, column(i, 0), delta);
        codes.write(high[i], token, column(i, 1), delta);
        if (!codes.wants_columns()) continue;
        codes.raise(top(i, 0), top(i, 1), low[i], delta, reach);
        codes.raise(top(i, 2), top(i, 3), high[i], delta, reach);
      }
    }
  }

  if constexpr (kNorm || kCodes) __syncthreads();
  if constexpr (kNorm) {
    const float* flat = reinterpret_cast<const float*>(shared);
    for (int out = threadIdx.x; out < 2 * layout.head_dim; out += Shape::kBlock) {
      const bool of_k = out >= layout.head_dim;
      const int component = out - of_k * layout.head_dim;
      const int h = component >= layout.half, in_half = component - h * layout.half;
      const int lane = in_half / 8, quarter = 2 * h + in_half % 8 / 4;
      float total = 0;
      for (int i = 0; i < kPairs; ++i) {
        for (int t = lane; t < Shape::kBlock; t += layout.lanes) {
          const int its_head = (i * kThreads + t % kThreads) >> layout.lane_bits;
          if (its_head >= layout.rotated || (its_head >= layout.heads) != of_k) continue;
          total += flat[((i * 4 + quarter) * Shape::kBlock + t) * 4 + in_half % 4];
        }
      }
      p.partial[static_cast<size_t>(blockIdx.x) * 2 * layout.head_dim + out] = total;
    }
  }
  if constexpr (kCodes) {
    if (!codes.wants_columns() || group != 0 || !works) return;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      if (head(i) >= all_heads) continue;
#pragma unroll
      for (int quarter = 0; quarter < 4; ++quarter) {
        float4 most = top(i, quarter);
        for (int other = 1; other < kRows; ++other) {  // the same thread of the other rows
          most = apply<Max>(most, (&top(i, quarter))[other * kThreads]);
        }
        codes.leave(most, column(i, quarter / 2) + quarter % 2 * 4);
      }
    }
  }
}

// Adds up the blocks' sums.
__global__ void __launch_bounds__(kSumThreads)
    gain_gradient_kernel(const float4* __restrict__ partial, int blocks,
                         float* __restrict__ dq_gain, float* __restrict__ dk_gain, int head_dim) {
  wait_for_predecessor();
  const int index = blockIdx.x * kSumLanes + threadIdx.x % kSumLanes;
  const float4 sum = over_blocks<Sum>(partial, blocks, head_dim / 2, index);
  if (threadIdx.x >= kSumLanes || index >= head_dim / 2) return;
  const int column = index * 4;
  float* to = column < head_dim ? dq_gain + column : dk_gain + column - head_dim;
  *reinterpret_cast<float4*>(to) = sum;
}

bool aligned(const HeadsView& view) {
  return reinterpret_cast<uintptr_t>(view.data) % 16 == 0 &&
         (view.batch_stride | view.token_stride | view.head_stride) % 8 == 0;
}

template <bool kNorm, bool kCodes>
cudaError_t launch_backward(const Backward& p, const QkvLayout& layout, int sequence, int tokens,
                            const GradientCodes& codes, float* dq_gain, float* dk_gain,
                            cudaStream_t stream) {
  const int processors = processor_count();
  if (processors == 0) return cudaErrorNoDevice;
  const int units = (layout.rotated + layout.kv_heads) << layout.lane_bits;
  bool launched = false;
  const auto offer = [&](auto shape) {
    using Shape = decltype(shape);
    if (launched || units > kPairs * Shape::kThreads) return;
    launched = true;
    const auto kernel = backward_kernel<Shape, kNorm, kCodes>;
    int blocks = (tokens + Shape::kRows - 1) / Shape::kRows;
    constexpr int kSharedBytes = (kNorm + kCodes) * kSums<Shape> * sizeof(float4);
    if constexpr (kNorm || kCodes) {
      const int resident =
          processors * std::max(1, blocks_per_sm(kNorm, kCodes) * 256 / Shape::kBlock);
      if (blocks > resident) blocks = resident;
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
    }
    launch_early(kernel, blocks, Shape::kBlock, kSharedBytes, stream, p, layout, codes, sequence,
                 tokens);
    if constexpr (kNorm) {
      const int sums = layout.head_dim / 2;  // of four columns
      launch_early(gain_gradient_kernel, (sums + kSumLanes - 1) / kSumLanes, kSumThreads, 0, stream,
                   reinterpret_cast<const float4*>(p.partial), blocks, dq_gain, dk_gain,
                   layout.head_dim);
    }
    finish_columns(codes, blocks, layout.row_width, stream);
  };
  offer(TokenShape<32>{});
  offer(TokenShape<64>{});
  offer(TokenShape<128>{});
  offer(TokenShape<256>{});
  offer(TokenShape<512>{});
  return launched ? cudaGetLastError() : cudaErrorInvalidValue;
}

template <bool kNorm>
cudaError_t launch_backward(Backward p, QkvShape shape, int tokens, const GradientCodes& codes,
                            float* dq_gain, float* dk_gain, cudaStream_t stream) {
  QkvLayout layout;
  if (!make_layout(shape, tokens, layout)) return cudaErrorInvalidValue;
  if (!aligned(p.dq) || !aligned(p.dk) || !aligned(p.dv)) return cudaErrorInvalidValue;
  p.inverse_head_dim = 1.0f / layout.head_dim;
  return codes.codes != nullptr ? launch_backward<kNorm, true>(p, layout, shape.sequence, tokens,
                                                               codes, dq_gain, dk_gain, stream)
                                : launch_backward<kNorm, false>(p, layout, shape.sequence, tokens,
                                                                codes, dq_gain, dk_gain, stream);
}

}  // namespace

cudaError_t qkv_rope_backward(HeadsView dq, HeadsView dk, HeadsView dv, const int64_t* positions,
                              const float* cos, const float* sin, __nv_bfloat16* dqkv, int tokens,
                              QkvShape shape, const GradientCodes& codes, cudaStream_t stream) {
  Backward p = {};
  p.dq = dq, p.dk = dk, p.dv = dv;
  p.positions = positions, p.cos = cos, p.sin = sin, p.dqkv = dqkv;
  return launch_backward<false>(p, shape, tokens, codes, nullptr, nullptr, stream);
}

cudaError_t qkv_norm_rope_backward(HeadsView dq, HeadsView dk, HeadsView dv,
                                   const __nv_bfloat16* qkv, const float* rstd, const float* q_gain,
                                   const float* k_gain, const int64_t* positions, const float* cos,
                                   const float* sin, __nv_bfloat16* dqkv, float* dq_gain,
                                   float* dk_gain, void* workspace, int tokens, QkvShape shape,
                                   const GradientCodes& codes, cudaStream_t stream) {
  const Backward p = {dq,
                      dk,
                      dv,
                      qkv,
                      rstd,
                      q_gain,
                      k_gain,
                      0,
                      positions,
                      cos,
                      sin,
                      dqkv,
                      static_cast<float*>(workspace)};
  return launch_backward<true>(p, shape, tokens, codes, dq_gain, dk_gain, stream);
}

size_t qkv_norm_rope_backward_workspace_bytes() {
  return static_cast<size_t>(processor_count()) * blocks_per_sm(true, true) * 2 * kMaxHeadDim *
         sizeof(float);
}

}  // namespace wf::kernels

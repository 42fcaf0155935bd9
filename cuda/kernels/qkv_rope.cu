// See qkv_rope.h for the formulas, device/qkv_layout.cuh for who does what.
#include "device/bf16.cuh"
#include "device/early_launch.cuh"
#include "device/qkv_layout.cuh"
#include "device/rotate.cuh"
#include "kernels/qkv_rope.h"

namespace wf::kernels {
namespace {

constexpr int kBlock = 256;  // threads

struct Forward {
  const __nv_bfloat16* qkv;
  __nv_bfloat16* q;  // where head h of token t goes: q + t * q_stride + h * head_dim, k likewise
  __nv_bfloat16* k;
  int64_t q_stride, k_stride;
  const float *q_gain, *k_gain;
  float eps, inverse_head_dim;
  float* rstd;
  const int64_t* positions;
  const float *cos, *sin;
};

// kPairs neighbouring heads of a token per thread.
template <bool kNorm>
__global__ void __launch_bounds__(kBlock, kNorm ? 3 : 4)
    forward_kernel(const __grid_constant__ Forward p, const __grid_constant__ QkvLayout layout,
                   unsigned heads_per_token, unsigned tokens) {
  wait_for_predecessor();
  const int lane = threadIdx.x & (layout.lanes - 1), first = lane * 8;
  const unsigned group = (blockIdx.x * kBlock + threadIdx.x) >> layout.lane_bits;
  const unsigned token = group / heads_per_token;
  const int head = static_cast<int>(group % heads_per_token) * kPairs;
  const bool works = token < tokens && first < layout.half;
  const auto inside = [&](int i) { return works && head + i < layout.rotated; };

  uint4 low[kPairs], high[kPairs];
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const __nv_bfloat16* from = p.qkv + static_cast<size_t>(token) * layout.row_width +
                                (head + i) * layout.head_dim + first;
    low[i] = inside(i) ? load_vector(from) : uint4{};
    high[i] = inside(i) ? load_vector(from + layout.half) : uint4{};
  }
  const int place = works ? first : 0;
  const Rotation rotation(p.cos, p.sin, works ? p.positions[token] : 0, layout.half, place);
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const bool query = head + i < layout.heads;
    float x[8], y[8];
    unpack_bf16(low[i], x);
    unpack_bf16(high[i], y);
    if constexpr (kNorm) {
      float squares = 0;
#pragma unroll
      for (int j = 0; j < 8; ++j) squares = fmaf(y[j], y[j], fmaf(x[j], x[j], squares));
      squares = head_sum(squares, layout.lanes);
      const float rstd = rsqrtf(__fadd_rn(__fmul_rn(squares, p.inverse_head_dim), p.eps));
      if (inside(i) && lane == 0) {
        p.rstd[static_cast<size_t>(token) * layout.rotated + head + i] = rstd;
      }
      const float* gain = (query ? p.q_gain : p.k_gain) + place;
      float g[8];
      load_eight(gain, g);
#pragma unroll
      for (int j = 0; j < 8; ++j) x[j] = __fmul_rn(__fmul_rn(x[j], rstd), g[j]);
      load_eight(gain + layout.half, g);
#pragma unroll
      for (int j = 0; j < 8; ++j) y[j] = __fmul_rn(__fmul_rn(y[j], rstd), g[j]);
    }
    rotation.apply<1>(x, y);
    if (!inside(i)) continue;
    __nv_bfloat16* to =
        query ? p.q + token * p.q_stride + (head + i) * layout.head_dim
              : p.k + token * p.k_stride + (head + i - layout.heads) * layout.head_dim;
    store_vector(to + first, pack_bf16(x));
    store_vector(to + first + layout.half, pack_bf16(y));
  }
}

template <bool kNorm>
cudaError_t launch_forward(const Forward& p, const QkvLayout& layout, int tokens,
                           cudaStream_t stream) {
  const int heads_per_token = (layout.rotated + kPairs - 1) / kPairs;
  const int64_t threads = (static_cast<int64_t>(tokens) * heads_per_token) << layout.lane_bits;
  if (threads >= INT32_MAX) return cudaErrorInvalidValue;
  const unsigned blocks = static_cast<unsigned>((threads + kBlock - 1) / kBlock);
  launch_early(forward_kernel<kNorm>, blocks, kBlock, 0, stream, p, layout, heads_per_token,
               tokens);
  return cudaGetLastError();
}

}  // namespace

cudaError_t qkv_rope(__nv_bfloat16* qkv, const int64_t* positions, const float* cos,
                     const float* sin, int tokens, QkvShape shape, cudaStream_t stream) {
  QkvLayout layout;
  if (!make_layout(shape, tokens, layout)) return cudaErrorInvalidValue;
  Forward p = {};
  p.qkv = p.q = qkv;
  p.k = qkv + static_cast<size_t>(shape.heads) * shape.head_dim;
  p.q_stride = p.k_stride = layout.row_width;
  p.positions = positions, p.cos = cos, p.sin = sin;
  return launch_forward<false>(p, layout, tokens, stream);
}

cudaError_t qkv_norm_rope(const __nv_bfloat16* qkv, const float* q_gain, const float* k_gain,
                          float eps, const int64_t* positions, const float* cos, const float* sin,
                          __nv_bfloat16* q, __nv_bfloat16* k, float* rstd, int tokens,
                          QkvShape shape, cudaStream_t stream) {
  QkvLayout layout;
  if (!make_layout(shape, tokens, layout)) return cudaErrorInvalidValue;
  const Forward p = {qkv,
                     q,
                     k,
                     static_cast<int64_t>(shape.heads) * shape.head_dim,
                     static_cast<int64_t>(shape.kv_heads) * shape.head_dim,
                     q_gain,
                     k_gain,
                     eps,
                     1.0f / shape.head_dim,
                     rstd,
                     positions,
                     cos,
                     sin};
  return launch_forward<true>(p, layout, tokens, stream);
}

}  // namespace wf::kernels

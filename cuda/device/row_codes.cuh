// Leaves the codes of a row of dY, and its share of the column maxima, in the kernel that computes
// it: see GradientCodes in kernels/quantize_gradient.h.
#pragma once

#include "device/bf16.cuh"
#include "device/block_partials.cuh"
#include "device/column_scales.cuh"
#include "device/early_launch.cuh"
#include "device/row_reduce.cuh"
#include "device/stochastic_codes.cuh"

namespace wf::kernels {

// A thread's view of the codes of dY [rows, width] that its kernel writes row by row.
class RowCodes {
 public:
  __device__ RowCodes(const GradientCodes& wanted, int width)
      : wanted_(wanted), deltas_(wanted.columns), rounding_(wanted.noise), width_(width) {}

  // All threads of a row with the largest() in it; `leader` writes the row's scale.
  __device__ __forceinline__ void scale(float row_largest, int row, bool leader) {
    s_ = gradient_scale(row_largest);
    step_ = __fmul_rn(max_or_nan(row_largest, 1e-30f), 1.001f / 127);
    if (leader) wanted_.scale[row] = s_;
  }

  // What eight columns from `column` on are multiplied with before the maximum.
  __device__ __forceinline__ float delta(int column) const { return deltas_.at(column); }

  // The largest |dy * delta| of eight values.
  __device__ __forceinline__ static float largest(uint4 dy, float delta) {
    return __fmul_rn(largest_magnitude(dy), delta);
  }

  // Writes the codes of eight values from `column` on, after scale().
  __device__ __forceinline__ void write(uint4 dy, int row, int column, float delta) const {
    float x[8];
    unpack_bf16(dy, x);
    const size_t at = static_cast<size_t>(row) * width_ + column;
    *reinterpret_cast<uint2*>(wanted_.codes + at) =
        rounding_.codes(x, __fmul_rd(delta, s_), static_cast<uint32_t>(at / 8));
  }

  __device__ __forceinline__ bool wants_columns() const { return wanted_.input_scale != nullptr; }

  // s of a row's input codes; 1 beyond the last row and where no maxima are wanted.
  __device__ __forceinline__ float input_scale(int row, int rows) const {
    return wants_columns() && row < rows ? wanted_.input_scale[row] : 1.0f;
  }

  // What the maxima need of a row, after scale().
  struct Reach {
    float inverse;  // 1 / s of the input's codes
    float step;     // what a step of our codes is worth, and a thousandth
  };
  __device__ __forceinline__ Reach reach(float input_scale) const {
    const float inverse = __frcp_rn(input_scale);
    return {inverse, __fmul_rn(step_, inverse)};
  }

  // Raises the maxima of eight columns, kept as two vectors of four.
  __device__ __forceinline__ static void raise(float4& low, float4& high, uint4 dy, float delta,
                                               const Reach& reach) {
    float x[8];
    unpack_bf16(dy, x);
    const float factor = __fmul_rn(delta, reach.inverse);
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = fmaf(fabsf(x[i]), factor, reach.step);
    low = apply<Max>(low, {x[0], x[1], x[2], x[3]});
    high = apply<Max>(high, {x[4], x[5], x[6], x[7]});
  }

  // Leaves the block's maxima of the four columns from `column` on for finish_columns().
  __device__ __forceinline__ void leave(float4 top, int column) const {
    const size_t at = (static_cast<size_t>(blockIdx.x) * width_ + column) / 4;
    static_cast<float4*>(wanted_.workspace)[at] = top;
  }

 private:
  const GradientCodes& wanted_;
  LoadedScales deltas_;
  StochasticRounding rounding_;
  int width_;
  float s_, step_;
};

// In the place of RowCodes where none are wanted.
struct NoCodes {
  __device__ NoCodes(const GradientCodes&, int) {}
};

static __global__ void __launch_bounds__(kSumThreads)
    column_maxima_kernel(const float4* __restrict__ partial, int blocks,
                         uint4* __restrict__ largest, int vectors) {
  wait_for_predecessor();
  const int index = blockIdx.x * kSumLanes + threadIdx.x % kSumLanes;
  const float4 top = over_blocks<Max>(partial, blocks, vectors, index);
  if (threadIdx.x >= kSumLanes || index >= vectors) return;
  largest[index] = {__float_as_uint(top.x), __float_as_uint(top.y), __float_as_uint(top.z),
                    __float_as_uint(top.w)};
}

// To be launched behind a kernel whose `blocks` left their maxima. (As atomics they would queue up
// at every column's address, for longer than the narrow rows' whole kernel takes.)
inline void finish_columns(const GradientCodes& codes, int blocks, int width, cudaStream_t stream) {
  if (codes.codes == nullptr || codes.input_scale == nullptr) return;
  const int vectors = width / 4;
  launch_early(column_maxima_kernel, (vectors + kSumLanes - 1) / kSumLanes, kSumThreads, 0, stream,
               static_cast<const float4*>(codes.workspace), blocks,
               reinterpret_cast<uint4*>(codes.largest), vectors);
}

}  // namespace wf::kernels

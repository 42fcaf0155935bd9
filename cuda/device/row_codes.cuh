// Leaves the codes of a row of dY, and its share of the column maxima, in the kernel that writes
// it: see GradientCodes in kernels/quantize_gradient.h.
#pragma once

#include "device/bf16.cuh"
#include "device/column_scales.cuh"
#include "device/row_reduce.cuh"
#include "device/stochastic_codes.cuh"

namespace wf::kernels {

// A thread's view of the codes of dY [rows, width] that its kernel writes row by row.
class RowCodes {
 public:
  __device__ RowCodes(const GradientCodes& wanted, int width)
      : wanted_(wanted), deltas_(wanted.columns), rounding_(wanted.noise), width_(width) {}

  // All threads of a row with the largest() of their vectors; leaves the row's scale when `leader`.
  // exchange: see row_reduce.
  template <int kRowThreads>
  __device__ __forceinline__ void scale(float largest, int row, bool leader, float* exchange) {
    s_ = gradient_scale(row_reduce<Max, kRowThreads>(largest, exchange));
    if (leader) wanted_.scale[row] = s_;
  }

  // The largest |dy * delta| of eight values in a row, from `column` on.
  __device__ __forceinline__ float largest(uint4 dy, int column) const {
    return __fmul_rn(largest_magnitude(dy), deltas_.at(column));
  }

  // Writes their codes, after scale().
  __device__ __forceinline__ void write(uint4 dy, int row, int column) const {
    float x[8];
    unpack_bf16(dy, x);
    const size_t at = static_cast<size_t>(row) * width_ + column;
    *reinterpret_cast<uint2*>(wanted_.codes + at) =
        rounding_.codes(x, __fmul_rd(deltas_.at(column), s_), static_cast<uint32_t>(at / 8));
  }

  __device__ __forceinline__ bool wants_columns() const { return wanted_.input_scale != nullptr; }

  // 1 / s of a row's input codes.
  __device__ __forceinline__ float inverse_input_scale(int row) const {
    return __fdiv_rn(1.0f, wanted_.input_scale[row]);
  }

  // Raises the maxima of eight columns, kept as two vectors of four.
  __device__ __forceinline__ static void raise(float4& low, float4& high, uint4 dy, float inverse) {
    float x[8];
    unpack_bf16(dy, x);
    low = larger(low, {fabsf(__fmul_rn(x[0], inverse)), fabsf(__fmul_rn(x[1], inverse)),
                       fabsf(__fmul_rn(x[2], inverse)), fabsf(__fmul_rn(x[3], inverse))});
    high = larger(high, {fabsf(__fmul_rn(x[4], inverse)), fabsf(__fmul_rn(x[5], inverse)),
                         fabsf(__fmul_rn(x[6], inverse)), fabsf(__fmul_rn(x[7], inverse))});
  }

  __device__ __forceinline__ static float4 larger(float4 a, float4 b) {
    return {max_or_nan(a.x, b.x), max_or_nan(a.y, b.y), max_or_nan(a.z, b.z), max_or_nan(a.w, b.w)};
  }

  // A block's maxima of the four columns from `column` on.
  __device__ __forceinline__ void publish(float4 top, int column) const {
    uint32_t* to = wanted_.largest + column;
    atomicMax(to, __float_as_uint(top.x));
    atomicMax(to + 1, __float_as_uint(top.y));
    atomicMax(to + 2, __float_as_uint(top.z));
    atomicMax(to + 3, __float_as_uint(top.w));
  }

 private:
  const GradientCodes& wanted_;
  LoadedScales deltas_;
  StochasticRounding rounding_;
  int width_;
  float s_;
};

// In the place of RowCodes where none are wanted.
struct NoCodes {
  __device__ NoCodes(const GradientCodes&, int) {}
};

}  // namespace wf::kernels

// Adds up, or takes the maxima of, what every block of an earlier launch left, in a fixed order: a
// slice of threads takes every kSumSlices-th block, then the slices are taken in order.
#pragma once

#include "device/row_reduce.cuh"

namespace wf::kernels {

constexpr int kSumLanes = 8;  // four columns each
constexpr int kSumSlices = 32;
constexpr int kSumThreads = kSumLanes * kSumSlices;

template <class Operation>
__device__ __forceinline__ float4 apply(float4 a, float4 b) {
  return {Operation::apply(a.x, b.x), Operation::apply(a.y, b.y), Operation::apply(a.z, b.z),
          Operation::apply(a.w, b.w)};
}

// partial [blocks, stride]; the result for column `index` = kSumLanes * block + threadIdx.x %
// kSumLanes is for threads below kSumLanes. Both operations begin with zero, so maxima are those of
// magnitudes; a column at or beyond the stride gives zero.
template <class Operation>
__device__ __forceinline__ float4 over_blocks(const float4* __restrict__ partial, int blocks,
                                              int stride, int index) {
  __shared__ float4 slices[kSumSlices][kSumLanes];
  const int lane = threadIdx.x % kSumLanes, slice = threadIdx.x / kSumLanes;
  float4 sum = {};
  if (index < stride) {
#pragma unroll 4
    for (int block = slice; block < blocks; block += kSumSlices) {
      sum = apply<Operation>(sum, partial[static_cast<size_t>(block) * stride + index]);
    }
  }
  slices[slice][lane] = sum;
  __syncthreads();
  if (slice == 0) {
#pragma unroll
    for (int other = 1; other < kSumSlices; ++other) {
      sum = apply<Operation>(sum, slices[other][lane]);
    }
  }
  return sum;
}

}  // namespace wf::kernels

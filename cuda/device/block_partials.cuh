// Adds up what every block of an earlier launch left, in a fixed order: a slice of threads takes
// every kSumSlices-th block, then the slices are added in order.
#pragma once

namespace wf::kernels {

constexpr int kSumLanes = 8;  // four columns each
constexpr int kSumSlices = 32;
constexpr int kSumThreads = kSumLanes * kSumSlices;

__device__ __forceinline__ float4 add(float4 a, float4 b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

// partial [blocks, stride]; the sum of column `index` = kSumLanes * block + threadIdx.x % kSumLanes
// is for threads below kSumLanes. A column at or beyond the stride gives zero.
__device__ __forceinline__ float4 sum_of_blocks(const float4* __restrict__ partial, int blocks,
                                                int stride, int index) {
  __shared__ float4 slices[kSumSlices][kSumLanes];
  const int lane = threadIdx.x % kSumLanes, slice = threadIdx.x / kSumLanes;
  float4 sum = {};
  if (index < stride) {
#pragma unroll 4
    for (int block = slice; block < blocks; block += kSumSlices) {
      sum = add(sum, partial[static_cast<size_t>(block) * stride + index]);
    }
  }
  slices[slice][lane] = sum;
  __syncthreads();
  if (slice == 0) {
#pragma unroll
    for (int other = 1; other < kSumSlices; ++other) sum = add(sum, slices[other][lane]);
  }
  return sum;
}

}  // namespace wf::kernels

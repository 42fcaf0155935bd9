// Sum over a block of kBlockSumThreads in fp64 and in a fixed order: over the lanes of a warp by
// halving distances, then over the warps in order. All threads receive it.
#pragma once

namespace wf::kernels {

constexpr int kBlockSumThreads = 256;

__device__ __forceinline__ double block_sum(double value) {
  __shared__ double warps[kBlockSumThreads / 32];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  }
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  value = warps[0];
#pragma unroll
  for (int i = 1; i < kBlockSumThreads / 32; ++i) value += warps[i];
  return value;
}

__device__ __forceinline__ double sum_magnitudes(float4 w) {
  return static_cast<double>(fabsf(w.x)) + static_cast<double>(fabsf(w.y)) +
         (static_cast<double>(fabsf(w.z)) + static_cast<double>(fabsf(w.w)));
}

}  // namespace wf::kernels

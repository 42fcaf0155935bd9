// Sum and maximum over all threads of a block, whole warps of them, in a fixed order. Every thread
// calls and receives the result. exchange: a float per warp, not in use by another reduction.
#pragma once

#include <stdint.h>

namespace wf::kernels {

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  }
  return value;
}

__device__ __forceinline__ float block_sum(float value, float* exchange) {
  const unsigned lane = threadIdx.x % 32;
  value = warp_sum(value);
  if (lane == 0) exchange[threadIdx.x / 32] = value;
  __syncthreads();
  return warp_sum(lane < blockDim.x / 32 ? exchange[lane] : 0.0f);
}

// Of magnitudes: as integers they ascend like the values, and a NaN is the largest.
__device__ __forceinline__ float block_maximum(float magnitude, float* exchange) {
  const unsigned lane = threadIdx.x % 32;
  uint32_t largest = __reduce_max_sync(0xffffffffu, __float_as_uint(magnitude));
  if (lane == 0) exchange[threadIdx.x / 32] = __uint_as_float(largest);
  __syncthreads();
  largest = lane < blockDim.x / 32 ? __float_as_uint(exchange[lane]) : 0;
  return __uint_as_float(__reduce_max_sync(0xffffffffu, largest));
}

}  // namespace wf::kernels

// Sums and maxima over the threads that share a row, in a fixed order. All threads of the block
// must call together.
#pragma once

#include <stdint.h>

namespace wf::kernels {

// NaN wins, so that a broken row stays visible in its scale.
__device__ __forceinline__ float max_or_nan(float a, float b) {
  float larger;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(larger) : "f"(a), "f"(b));
  return larger;
}

struct Sum {
  __device__ static float apply(float a, float b) { return __fadd_rn(a, b); }
};
struct Max {
  __device__ static float apply(float a, float b) { return max_or_nan(a, b); }
};

// exchange: one float per warp of the block, not in use by another reduction.
template <class Operation, int kRowThreads>
__device__ __forceinline__ float row_reduce(float value, float* exchange) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    value = Operation::apply(value, __shfl_xor_sync(0xffffffffu, value, distance));
  }
  if constexpr (kRowThreads > 32) {
    constexpr int kWarps = kRowThreads / 32;
    const int warp = threadIdx.x / 32;
    if (threadIdx.x % 32 == 0) exchange[warp] = value;
    __syncthreads();
    const int first = warp / kWarps * kWarps;
    value = exchange[first];
#pragma unroll
    for (int i = 1; i < kWarps; ++i) value = Operation::apply(value, exchange[first + i]);
  }
  return value;
}

}  // namespace wf::kernels

// See cross_entropy.h for the formula. One block per row, which it reads twice: once for the
// running maximum and sum, once for the gradient, when part of it still lies in L2.
#include "device/bf16.cuh"
#include "device/early_launch.cuh"
#include "device/row_reduce.cuh"
#include "kernels/cross_entropy.h"

namespace wf::kernels {
namespace {

constexpr int kThreads = 512;
constexpr int kUnroll = 2;  // vectors in flight per thread
constexpr float kLog2E = 1.44269504f;

// 2^x; flushing what lies under 2^-126 to zero does not show in a bf16 gradient or a sum over 1.
__device__ __forceinline__ float exp2_fast(float x) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
}

// sum of exp(z) over the values seen, as sum * 2^largest; z scaled to base 2.
struct RunningSum {
  float largest = -INFINITY, sum = 0;

  __device__ void add(const float (&z)[8]) {
    float top = largest;
#pragma unroll
    for (int i = 0; i < 8; ++i) top = max_or_nan(top, z[i]);
    float added = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) added += exp2_fast(z[i] - top);
    sum = sum * exp2_fast(largest - top) + added;
    largest = top;
  }
};

__device__ __forceinline__ void load_scaled(const __nv_bfloat16* from, float (&z)[8]) {
  unpack_bf16(load_vector(from), z);
#pragma unroll
  for (int i = 0; i < 8; ++i) z[i] *= kLog2E;
}

__global__ void __launch_bounds__(kThreads, 2)
    cross_entropy_kernel(__nv_bfloat16* logits, const int64_t* __restrict__ labels,
                         const float* __restrict__ scale, float* __restrict__ loss, int vocab,
                         int pitch) {
  wait_for_predecessor();
  __shared__ float exchange[2][kThreads / 32];
  const size_t row = blockIdx.x;
  __nv_bfloat16* z_row = logits + row * pitch;
  const int64_t label = labels[row];
  if (label == kIgnoredLabel) {
    for (int c = threadIdx.x * 8; c < pitch; c += kThreads * 8) store_vector(z_row + c, uint4{});
    if (threadIdx.x == 0) loss[row] = 0;
    return;
  }
  const float z_label = __bfloat162float(z_row[label]) * kLog2E;

  RunningSum running;
#pragma unroll kUnroll
  for (int c = threadIdx.x * 8; c < vocab; c += kThreads * 8) {
    float z[8];
    load_scaled(z_row + c, z);
    running.add(z);
  }
  const float largest = row_reduce<Max, kThreads>(running.largest, exchange[0]);
  // A thread that saw nothing has largest = -inf and adds 0.
  const float part = running.sum * exp2_fast(running.largest - largest);
  const float sum = row_reduce<Sum, kThreads>(part, exchange[1]);
  const float log2_sum = largest + log2f(sum);
  if (threadIdx.x == 0) loss[row] = (log2_sum - z_label) / kLog2E;

  // The reductions' barriers lie between every read of z_row[label] and the first write.
  const float factor = *scale;
#pragma unroll kUnroll
  for (int c = threadIdx.x * 8; c < pitch; c += kThreads * 8) {
    float z[8] = {};
    if (c < vocab) {
      load_scaled(z_row + c, z);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        z[i] = (exp2_fast(z[i] - log2_sum) - (c + i == label ? 1.0f : 0.0f)) * factor;
      }
    }
    store_vector(z_row + c, pack_bf16(z));
  }
}

}  // namespace

cudaError_t cross_entropy(__nv_bfloat16* logits, const int64_t* labels, const float* scale,
                          float* loss, int rows, int vocab, int pitch, cudaStream_t stream) {
  if (rows < 1 || vocab < 8 || vocab % 8 != 0 || pitch % 8 != 0 || vocab > pitch) {
    return cudaErrorInvalidValue;
  }
  launch_early(cross_entropy_kernel, rows, kThreads, 0, stream, logits, labels, scale, loss, vocab,
               pitch);
  return cudaGetLastError();
}

}  // namespace wf::kernels

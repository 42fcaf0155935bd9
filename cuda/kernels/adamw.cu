// See adamw.h for the formula. A block takes one chunk of one tensor.
#include "device/block_sum.cuh"
#include "device/early_launch.cuh"
#include "device/last_starting_at.cuh"
#include "kernels/adamw.h"

namespace wf::kernels {
namespace {

constexpr int kVectors = 2;  // of four elements, in flight per thread
constexpr int kPasses = kSumChunk / 4 / kBlockSumThreads / kVectors;

struct Rates {
  float beta1, beta2, epsilon;
  float lr_over_bias1, root_bias2, keep, gradient_scale;
};

__device__ __forceinline__ void update(const Rates& r, float& w, float& m, float& v,
                                       float gradient) {
  const float g = __fmul_rn(gradient, r.gradient_scale);
  m = __fmaf_rn(r.beta1, m, __fmul_rn(__fsub_rn(1.0f, r.beta1), g));
  v = __fmaf_rn(r.beta2, v, __fmul_rn(__fmul_rn(__fsub_rn(1.0f, r.beta2), g), g));
  const float denominator = __fadd_rn(__fdiv_rn(__fsqrt_rn(v), r.root_bias2), r.epsilon);
  w = __fmaf_rn(-r.lr_over_bias1, __fdiv_rn(m, denominator), __fmul_rn(w, r.keep));
}

__global__ void __launch_bounds__(kBlockSumThreads, 4)
    adamw_kernel(const AdamWTensor* __restrict__ tensors, int count,
                 const AdamWStep* __restrict__ step, float beta1, float beta2, float epsilon) {
  wait_for_predecessor();
  if (!isfinite(step->gradient_scale)) return;
  const int chunk = blockIdx.x;
  const AdamWTensor& t =
      tensors[last_starting_at(count, chunk, [&](int i) { return tensors[i].first_chunk; })];
  const float lr = __fmul_rn(step->lr, t.lr_factor);
  const Rates rates{beta1,
                    beta2,
                    epsilon,
                    __fdiv_rn(lr, step->bias1),
                    step->root_bias2,
                    __fsub_rn(1.0f, __fmul_rn(lr, t.weight_decay)),
                    step->gradient_scale};
  const int first = (chunk - t.first_chunk) * kSumChunk + threadIdx.x * 4;
  double sum = 0;
#pragma unroll 1
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto index = [&](int i) { return first + (pass * kVectors + i) * kBlockSumThreads * 4; };
    float4 w[kVectors], m[kVectors], v[kVectors], g[kVectors];
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const bool inside = index(i) < t.count;
      w[i] = inside ? *reinterpret_cast<const float4*>(t.weight + index(i)) : float4{};
      m[i] = inside ? *reinterpret_cast<const float4*>(t.m + index(i)) : float4{};
      v[i] = inside ? *reinterpret_cast<const float4*>(t.v + index(i)) : float4{};
      g[i] = inside ? *reinterpret_cast<const float4*>(t.gradient + index(i)) : float4{};
    }
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (index(i) >= t.count) continue;
      update(rates, w[i].x, m[i].x, v[i].x, g[i].x);
      update(rates, w[i].y, m[i].y, v[i].y, g[i].y);
      update(rates, w[i].z, m[i].z, v[i].z, g[i].z);
      update(rates, w[i].w, m[i].w, v[i].w, g[i].w);
      *reinterpret_cast<float4*>(t.weight + index(i)) = w[i];
      *reinterpret_cast<float4*>(t.m + index(i)) = m[i];
      *reinterpret_cast<float4*>(t.v + index(i)) = v[i];
      sum += sum_magnitudes(w[i]);
    }
  }
  if (t.absolute_sums != nullptr) {
    sum = block_sum(sum);
    if (threadIdx.x == 0) t.absolute_sums[chunk - t.first_chunk] = sum;
  }
}

}  // namespace

int plan_adamw(AdamWTensor* tensors, int count) {
  int chunks = 0;
  for (int i = 0; i < count; ++i) {
    if (tensors[i].count < 4 || tensors[i].count % 4 != 0) return 0;
    tensors[i].first_chunk = chunks;
    chunks += (tensors[i].count + kSumChunk - 1) / kSumChunk;
  }
  return chunks;
}

cudaError_t adamw(const AdamWTensor* tensors, int count, int chunks, const AdamWStep* step,
                  float beta1, float beta2, float epsilon, cudaStream_t stream) {
  if (count < 1 || chunks < count) return cudaErrorInvalidValue;
  launch_early(adamw_kernel, chunks, kBlockSumThreads, 0, stream, tensors, count, step, beta1,
               beta2, epsilon);
  return cudaGetLastError();
}

}  // namespace wf::kernels

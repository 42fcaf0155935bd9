// See dequantize_rows.h for the formula.
#include "device/bf16.cuh"
#include "device/early_launch.cuh"
#include "device/quantize.cuh"
#include "kernels/dequantize_rows.h"

namespace wf::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 4;  // of eight codes per thread

__global__ void __launch_bounds__(kThreads, 4)
    dequantize_rows_kernel(const int8_t* __restrict__ codes, const float* __restrict__ scale,
                           __nv_bfloat16* __restrict__ out, unsigned vectors,
                           unsigned vectors_per_row) {
  wait_for_predecessor();
  const unsigned first = blockIdx.x * (kThreads * kVectors) + threadIdx.x;
  uint2 raw[kVectors];
  float s[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const unsigned at = first + v * kThreads;
    const bool inside = at < vectors;
    raw[v] = inside ? load_codes(codes + static_cast<size_t>(at) * 8) : uint2{};
    s[v] = inside && scale != nullptr ? scale[at / vectors_per_row] : 1.0f;
  }
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const unsigned at = first + v * kThreads;
    if (at >= vectors) continue;
    float x[8];
    unpack_codes(raw[v], x);
    const float inverse = __fdiv_rn(1.0f, s[v]);
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = divide(x[i], s[v], inverse);
    store_vector(out + static_cast<size_t>(at) * 8, pack_bf16(x));
  }
}

}  // namespace

cudaError_t dequantize_rows(const int8_t* codes, const float* scale, __nv_bfloat16* out, int rows,
                            int width, cudaStream_t stream) {
  if (rows < 1 || width < 16 || width % 16 != 0) return cudaErrorInvalidValue;
  const int64_t vectors = static_cast<int64_t>(rows) * width / 8;
  if (vectors > INT32_MAX - kThreads * kVectors) return cudaErrorInvalidValue;
  const int blocks = static_cast<int>((vectors + kThreads * kVectors - 1) / (kThreads * kVectors));
  launch_early(dequantize_rows_kernel, blocks, kThreads, 0, stream, codes, scale, out,
               static_cast<unsigned>(vectors), static_cast<unsigned>(width / 8));
  return cudaGetLastError();
}

}  // namespace wf::kernels

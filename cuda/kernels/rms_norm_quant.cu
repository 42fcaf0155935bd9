// See rms_norm_quant.h for the formula. A row lives in the registers of 32 to 256 threads; each
// input is read once and each output written once.
#include "device/bf16.cuh"
#include "device/early_launch.cuh"
#include "device/glu.cuh"
#include "device/quantize.cuh"
#include "device/row_reduce.cuh"
#include "device/row_shape.h"
#include "kernels/rms_norm_quant.h"

namespace wf::kernels {
namespace {

// Sources: load() fetches what eight elements of h need, expand() computes them.
struct Plain {
  const __nv_bfloat16* x;
  int width;

  struct Raw {
    uint4 x;
  };
  __device__ Raw load(size_t row, int column) const {
    return {load_vector(x + row * width + column)};
  }
  __device__ void expand(const Raw& raw, size_t, int, bool, float (&h)[8]) const {
    unpack_bf16(raw.x, h);
  }
};

struct Added {
  const __nv_bfloat16* x;
  const __nv_bfloat16* delta;
  __nv_bfloat16* sum;
  int width;

  struct Raw {
    uint4 x, delta;
  };
  __device__ Raw load(size_t row, int column) const {
    const size_t at = row * width + column;
    return {load_vector(x + at), load_vector(delta + at)};
  }
  __device__ void expand(const Raw& raw, size_t row, int column, bool inside, float (&h)[8]) const {
    float delta[8];
    unpack_bf16(raw.x, h);
    unpack_bf16(raw.delta, delta);
#pragma unroll
    for (int i = 0; i < 8; ++i) h[i] = __fadd_rn(h[i], delta[i]);
    const uint4 rounded = pack_bf16(h);
    if (inside) store_vector(sum + row * width + column, rounded);
    unpack_bf16(rounded, h);
  }
};

template <class Activation>
struct Glu {
  const __nv_bfloat16* gate_up;
  int width;

  struct Raw {
    uint4 gate, up;
  };
  __device__ Raw load(size_t row, int column) const {
    const __nv_bfloat16* at = gate_up + 2 * row * width + column;
    return {load_vector(at), load_vector(at + width)};
  }
  __device__ void expand(const Raw& raw, size_t, int, bool, float (&h)[8]) const {
    float up[8];
    unpack_bf16(raw.gate, h);
    unpack_bf16(raw.up, up);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      h[i] = __fmul_rn(Activation::value(h[i], Activation::inner(h[i])), up[i]);
    }
  }
};

// What becomes of a row's norm y: its codes, or a blend of y and their values.
struct Codes {
  static constexpr int kMaxVectors = 8;  // per thread, see RowShape
  int8_t* q;
  float* scale;

  __device__ void write(const float (&y)[8], float s, size_t at) const {
    *reinterpret_cast<uint2*>(q + at) = quantize_vector(y, s);
  }
  __device__ void write_scale(float s, size_t row) const { scale[row] = s; }
};

struct Blend {
  static constexpr int kMaxVectors = 5;  // more would not fit the registers
  __nv_bfloat16* out;
  const float* lambda;

  __device__ void write(float (&y)[8], float s, size_t at) const {
    const float weight = *lambda;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float code = rintf(__fmul_rn(y[i], s));
      y[i] = __fadd_rn(y[i], __fmul_rn(weight, __fsub_rn(__fdividef(code, s), y[i])));
    }
    store_vector(out + at, pack_bf16(y));
  }
  __device__ void write_scale(float, size_t) const {}
};

// Threads beyond the row's end work on zeros: branches around the arithmetic would keep the loads
// from being in flight together.
template <class Shape, class Source, class Output>
__global__ void __launch_bounds__(Shape::kBlock, Shape::kBlocksPerSm)
    rms_norm_quant_kernel(Source source, const float* __restrict__ gain, float eps,
                          float inverse_width, Output output, float* __restrict__ rstd_out,
                          int rows, int width) {
  wait_for_predecessor();
  constexpr int kThreads = Shape::kThreads, kVectors = Shape::kVectors;
  __shared__ float exchange[2][Shape::kBlock / 32];
  const int thread = threadIdx.x % kThreads;
  const size_t row = static_cast<size_t>(blockIdx.x) * Shape::kRows + threadIdx.x / kThreads;
  const auto column = [&](int v) { return (v * kThreads + thread) * 8; };
  const auto inside = [&](int v) { return row < rows && column(v) < width; };

  typename Source::Raw raw[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    raw[v] = inside(v) ? source.load(row, column(v)) : typename Source::Raw{};
  }
  float h[kVectors][8];
  float squares = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    source.expand(raw[v], row, column(v), inside(v), h[v]);
#pragma unroll
    for (int i = 0; i < 8; ++i) squares = fmaf(h[v][i], h[v][i], squares);
  }
  squares = row_reduce<Sum, kThreads>(squares, exchange[0]);
  const float rstd = rsqrtf(__fadd_rn(__fmul_rn(squares, inverse_width), eps));

  float largest = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const float* at = gain + (inside(v) ? column(v) : 0);
    const float4 low = *reinterpret_cast<const float4*>(at);
    const float4 high = *reinterpret_cast<const float4*>(at + 4);
    const float g[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      h[v][i] = __fmul_rn(__fmul_rn(h[v][i], rstd), g[i]);
      largest = max_or_nan(largest, fabsf(h[v][i]));
    }
  }
  largest = row_reduce<Max, kThreads>(largest, exchange[1]);
  const float s = quantize_scale(largest);
  if (row < rows && thread == 0) {
    output.write_scale(s, row);
    rstd_out[row] = rstd;
  }
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    if (inside(v)) output.write(h[v], s, row * width + column(v));
  }
}

template <class Source, class Output>
cudaError_t launch(const Source& source, const float* gain, float eps, const Output& output,
                   float* rstd, int rows, int width, cudaStream_t stream) {
  return with_row_shape<Output::kMaxVectors>(rows, width, [&](auto shape, int blocks) {
    using Shape = decltype(shape);
    launch_early(rms_norm_quant_kernel<Shape, Source, Output>, blocks, decltype(shape)::kBlock, 0,
                 stream, source, gain, eps, 1.0f / width, output, rstd, rows, width);
  });
}

}  // namespace

cudaError_t add_rms_norm_quant(const __nv_bfloat16* x, const __nv_bfloat16* delta,
                               const float* gain, float eps, __nv_bfloat16* sum, int8_t* q,
                               float* scale, float* rstd, int rows, int width,
                               cudaStream_t stream) {
  return launch(Added{x, delta, sum, width}, gain, eps, Codes{q, scale}, rstd, rows, width, stream);
}

cudaError_t rms_norm_quant(const __nv_bfloat16* x, const float* gain, float eps, int8_t* q,
                           float* scale, float* rstd, int rows, int width, cudaStream_t stream) {
  return launch(Plain{x, width}, gain, eps, Codes{q, scale}, rstd, rows, width, stream);
}

cudaError_t glu_norm_quant(const __nv_bfloat16* gate_up, GluActivation activation,
                           const float* gain, float eps, int8_t* q, float* scale, float* rstd,
                           int rows, int width, cudaStream_t stream) {
  return activation == GluActivation::kSilu ? launch(Glu<Silu>{gate_up, width}, gain, eps,
                                                     Codes{q, scale}, rstd, rows, width, stream)
                                            : launch(Glu<Relu2>{gate_up, width}, gain, eps,
                                                     Codes{q, scale}, rstd, rows, width, stream);
}

cudaError_t add_rms_norm_blend(const __nv_bfloat16* x, const __nv_bfloat16* delta,
                               const float* gain, float eps, const float* lambda,
                               __nv_bfloat16* sum, __nv_bfloat16* out, float* rstd, int rows,
                               int width, cudaStream_t stream) {
  return launch(Added{x, delta, sum, width}, gain, eps, Blend{out, lambda}, rstd, rows, width,
                stream);
}

cudaError_t rms_norm_blend(const __nv_bfloat16* x, const float* gain, float eps,
                           const float* lambda, __nv_bfloat16* out, float* rstd, int rows,
                           int width, cudaStream_t stream) {
  return launch(Plain{x, width}, gain, eps, Blend{out, lambda}, rstd, rows, width, stream);
}

cudaError_t glu_norm_blend(const __nv_bfloat16* gate_up, GluActivation activation,
                           const float* gain, float eps, const float* lambda, __nv_bfloat16* out,
                           float* rstd, int rows, int width, cudaStream_t stream) {
  const Blend blend{out, lambda};
  return activation == GluActivation::kSilu
             ? launch(Glu<Silu>{gate_up, width}, gain, eps, blend, rstd, rows, width, stream)
             : launch(Glu<Relu2>{gate_up, width}, gain, eps, blend, rstd, rows, width, stream);
}

}  // namespace wf::kernels

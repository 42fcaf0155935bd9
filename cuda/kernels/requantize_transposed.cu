// See requantize_transposed.h for the formula. One block per tile.
#include "device/bf16.cuh"
#include "device/glu.cuh"
#include "device/quantize.cuh"
#include "device/transpose.cuh"
#include "kernels/requantize_transposed.h"

namespace wf::kernels {
namespace {

// Sources: load() fetches what eight elements of h need, expand() computes them.
struct Plain {
  const __nv_bfloat16* h;
  int width;

  struct Raw {
    uint4 h;
  };
  __device__ Raw load(size_t row, int column) const {
    return {load_vector(h + row * width + column)};
  }
  __device__ static void expand(const Raw& raw, float (&h)[8]) { unpack_bf16(raw.h, h); }
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
  __device__ static void expand(const Raw& raw, float (&h)[8]) {
    gated<Activation>(raw.gate, raw.up, h);
  }
};

template <class Source>
__global__ void __launch_bounds__(kTileThreads, 4)
    requantize_kernel(Source source, const float* __restrict__ rstd, const float* __restrict__ gain,
                      const float* __restrict__ scale, int8_t* __restrict__ qt, int rows,
                      int width) {
  __shared__ CodeTile tile;
  const int tile_row = blockIdx.y * kTileRows, tile_column = blockIdx.x * kTileColumns;
  const int row = tile_row + block_row(), column = tile_column + block_column();
  uint2 codes[4] = {};
  if (row < rows && column < width) {
    typename Source::Raw raw[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) raw[i] = source.load(row + i, column);
    const float4 r = *reinterpret_cast<const float4*>(rstd + row);
    const float4 s = *reinterpret_cast<const float4*>(scale + row);
    const float rstds[4] = {r.x, r.y, r.z, r.w}, scales[4] = {s.x, s.y, s.z, s.w};
    float g[8];
    load_eight(gain + column, g);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float h[8];
      source.expand(raw[i], h);
#pragma unroll
      for (int j = 0; j < 8; ++j) h[j] = __fmul_rn(__fmul_rn(h[j], rstds[i]), g[j]);
      codes[i] = quantize_vector(h, scales[i]);
    }
  }
  tile.store_transposed(codes, qt, rows, tile_row, tile_column, rows, width);
}

template <class Source>
cudaError_t launch(const Source& source, const float* rstd, const float* gain, const float* scale,
                   int8_t* qt, int rows, int width, cudaStream_t stream) {
  if (rows < 16 || width < 16 || rows % 16 != 0 || width % 16 != 0) return cudaErrorInvalidValue;
  const dim3 tiles(static_cast<unsigned>(tiles_along_columns(width)),
                   static_cast<unsigned>(tiles_along_rows(rows)));
  requantize_kernel<<<tiles, kTileThreads, 0, stream>>>(source, rstd, gain, scale, qt, rows, width);
  return cudaGetLastError();
}

}  // namespace

cudaError_t requantize_transposed(const __nv_bfloat16* h, const float* rstd, const float* gain,
                                  const float* scale, int8_t* qt, int rows, int width,
                                  cudaStream_t stream) {
  return launch(Plain{h, width}, rstd, gain, scale, qt, rows, width, stream);
}

cudaError_t glu_requantize_transposed(const __nv_bfloat16* gate_up, GluActivation activation,
                                      const float* rstd, const float* gain, const float* scale,
                                      int8_t* qt, int rows, int width, cudaStream_t stream) {
  return activation == GluActivation::kSilu
             ? launch(Glu<Silu>{gate_up, width}, rstd, gain, scale, qt, rows, width, stream)
             : launch(Glu<Relu2>{gate_up, width}, rstd, gain, scale, qt, rows, width, stream);
}

}  // namespace wf::kernels

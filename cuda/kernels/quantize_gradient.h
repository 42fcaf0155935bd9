// int8 codes of an output gradient's rows by stochastic rounding, for dX = codes * W^T.
//
//   x    = dy[m, n] * delta(n)                         delta: per segment of columns, see
//   ColumnScales a    = max(max|x_row|, 1e-30),  s = 127 / a        IEEE division code =
//   rint_even(x * s + w)                        fp32, int8 in [-127, 127] w    = (k + 1/2) / 2^15 -
//   1/2                      k: 15 random bits, so E[code] = x * s
//
// |x * s + w| < 127.5 even after rounding, because w stops 2^-16 short of 1/2: no code reaches 128.
// The bits: word j/2 of Philox4x32-10 with key = seed and counter = {v, v >> 32, tensor, *step},
// where v = (m * N + n) / 8 and j = n % 8; even j take bits 0-14, odd j bits 16-30. A NaN or an
// infinity in a row makes its s a NaN.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <stdint.h>

#include "kernels/gemm_s8.h"

namespace wf::kernels {

// Names one draw of noise: the run's seed, a counter in device memory that the run advances with
// every micro-step, and the tensor's number within the step.
struct Noise {
  uint64_t seed;
  const uint32_t* step;
  uint32_t tensor;
};

// dy, codes [rows, width]; scale [rows]. width: a multiple of 16, at most 16384. Null scales in
// `columns` mean 1; count == 0 means 1 everywhere.
cudaError_t quantize_gradient_rows(const __nv_bfloat16* dy, const ColumnScales& columns,
                                   const Noise& noise, int8_t* codes, float* scale, int rows,
                                   int width, cudaStream_t stream);

}  // namespace wf::kernels

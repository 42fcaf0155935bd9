// int8 codes of an output gradient by stochastic rounding. Its rows, for dX = codes * W^T:
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

// The columns' codes, transposed, for dW = codes^T * q: the tokens lie on the contraction axis, so
// the activations' row scales are folded into dy before it is rounded.
//
//   x    = dy[m, n] * (1 / input_scale[m])            fp32, 1 / s an IEEE division
//   a    = max(max_m |x|, 1e-30),  s[n] = 127 / a      IEEE division
//   code = rint_even(fma(x, s[n], w))                  written at [n, m]
//
// The noise of a 4 x 4 block of dy (rows 4i.., columns 4j..): element e = 4 * (m % 4) + n % 4 takes
// word e % 8 / 2, bits 0-13 for even e and 16-29 for odd, of Philox with key = seed and
// counter = {v, v >> 32, tensor, *step}, v = 2 * (i * width / 4 + j) + e / 8. Use another tensor
// number than for the rows.
//
// dy [rows, width]; input_scale [rows]; codes_transposed [width, rows]; scale [width]; rows and
// width multiples of 16. largest: device memory for `width` values, contents free. A NaN or an
// infinity in a column makes its s a NaN.
cudaError_t quantize_gradient_columns(const __nv_bfloat16* dy, const float* input_scale,
                                      const Noise& noise, int8_t* codes_transposed, float* scale,
                                      uint32_t* largest, int rows, int width, cudaStream_t stream);

}  // namespace wf::kernels

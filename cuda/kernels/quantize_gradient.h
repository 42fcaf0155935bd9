// int8 codes of an output gradient by stochastic rounding. Its rows, for dX = codes * W^T:
//
//   x    = dy[m, n] * delta(n)              delta: per segment of columns, see ColumnScales
//   a    = max(max|x_row|, 1e-30),  s = 127 / a                              IEEE division
//   T    = rint_even(dy[m, n] * (delta(n) * s) * 2^15)       delta(n) * s rounded towards zero
//   code = floor((2 T + k) / 2^16)                           k: 16 random bits, uniform
//
// so E[code] = T / 2^15, within 2^-16 of x * s: rounding is unbiased. x * s that are integers, zero
// among them, are kept whatever the noise; and |T| <= 127 * 2^15 because of the rounding towards
// zero, so no code passes 127. A NaN or an infinity in a row makes its s a NaN. Deltas: at most 64.
//
// The noise. The eight elements 8v .. 8v + 7 of dy in row-major order share the two words of
// Philox2x32-7 with
//
//   key = low(seed) ^ tensor * 0x9E3779B9,   counter = {v, *step + high(seed) * 0x85EBCA6B}
//
// element j takes bits 0..15 of word j / 4 rotated right by 8 * (j % 4). Within a run all counters
// and keys differ. The upper halves of the eight k are bytes of their own, hence independent; the
// lower half of a k is the upper half of its neighbour's, so that the k of neighbours in a word
// correlate by 2^-8 (each by itself is uniform over 2^16 values, which is what unbiasedness needs).
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

// What a kernel that writes dY [rows, width] may leave for the linear whose output gradient dY is:
// the same codes and scales that quantize_gradient_rows() would make of the bf16 that it writes,
// and the maxima for quantize_gradient_columns_given().
struct GradientCodes {
  ColumnScales columns;      // that linear's deltas, folded in before the row maximum
  Noise noise;               // of the rows' codes
  int8_t* codes;             // [rows, width]; null: nothing wanted, all else ignored
  float* scale;              // [rows]
  const float* input_scale;  // [rows], s of that linear's input codes; null: no maxima wanted
  uint32_t* largest;         // [width], bits of max_m |dy / s|
  void* workspace;           // gradient_codes_workspace_bytes() for them, contents free
};

size_t gradient_codes_workspace_bytes();

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
//   T    = rint_even(x * s[n] * 2^15),  code = floor((2 T + k) / 2^16)     written at [n, m]
//
// with the noise of the rows; use another tensor number than for them.
//
// dy [rows, width]; input_scale [rows]; codes_transposed [width, rows]; scale [width]; rows and
// width multiples of 16. largest: device memory for `width` values, contents free. A NaN or an
// infinity in a column makes its s a NaN.
cudaError_t quantize_gradient_columns(const __nv_bfloat16* dy, const float* input_scale,
                                      const Noise& noise, int8_t* codes_transposed, float* scale,
                                      uint32_t* largest, int rows, int width, cudaStream_t stream);

// The same where the kernel that wrote dy left the bits of max_m |x| in `largest`, see
// GradientCodes: one pass over dy instead of two.
cudaError_t quantize_gradient_columns_given(const __nv_bfloat16* dy, const float* input_scale,
                                            const uint32_t* largest, const Noise& noise,
                                            int8_t* codes_transposed, float* scale, int rows,
                                            int width, cudaStream_t stream);

}  // namespace wf::kernels

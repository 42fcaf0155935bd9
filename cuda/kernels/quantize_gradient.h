// int8 codes of an output gradient dY by stochastic rounding. Its rows, for dX = codes * W^T:
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

// What a kernel that computes dY [rows, width] may leave for the linear whose output gradient dY
// is: the same codes and scales that quantize_gradient_rows() would make of dY in bf16, and maxima
// for quantize_gradient_columns(), of what the codes can be at most:
//
//   i          = 1 / input_scale[m]                                          IEEE division
//   largest[n] = max_m fma(|dy[m, n]|, delta(n) * i, (a[m] * (1.001 / 127)) * i)
//
// a value and a step of its row's codes, with a thousandth that no rounding passes. a: the row's
// maximum, as below, so that a NaN or an infinity anywhere makes all columns' s NaN, and dW with
// them.
struct GradientCodes {
  ColumnScales columns;      // that linear's deltas, folded in before the row maximum
  Noise noise;               // of the rows' codes
  int8_t* codes;             // [rows, width]; null: nothing wanted, all else ignored
  float* scale;              // [rows]
  const float* input_scale;  // [rows], s of that linear's input codes; null: no maxima wanted
  uint32_t* largest;         // [width], bits
  void* workspace;           // gradient_codes_workspace_bytes() for them, contents free
};

size_t gradient_codes_workspace_bytes();

// dy, codes [rows, width]; scale [rows]. width: a multiple of 16, at most 16384. Null scales in
// `columns` mean 1; count == 0 means 1 everywhere.
cudaError_t quantize_gradient_rows(const __nv_bfloat16* dy, const ColumnScales& columns,
                                   const Noise& noise, int8_t* codes, float* scale, int rows,
                                   int width, cudaStream_t stream);

// The columns' codes, transposed, for dW = codes^T * q, made of the rows' codes c and scales: the
// tokens lie on the contraction axis, so both row scales are folded in before c is rounded again.
//
//   r[m] = 1 / (scale[m] * input_scale[m])                   fp32, 1 / x an IEEE division
//   x    = c[m, n] * r[m]                                    dy * delta / input_scale, rounded
//   a    = max(largest[n], 1e-30),  s[n] = 127 / a            largest[n] at least max_m |x|
//   T    = rint_even(x * s[n] * 2^15),  code = floor((2 T + k) / 2^16)     written at [n, m]
//   column_scale[n] = s[n] * delta(n)          so that dy / input_scale ~ code / column_scale
//
// with the noise of the rows; use another tensor number than for them. Rounding twice is unbiased
// twice.
//
// codes [rows, width]; scale, input_scale [rows]; largest, column_scale [width]; codes_transposed
// [width, rows]; rows and width multiples of 16. A NaN or an infinity in `largest` makes its
// column's s a NaN.
cudaError_t quantize_gradient_columns(const int8_t* codes, const float* scale,
                                      const ColumnScales& columns, const float* input_scale,
                                      const uint32_t* largest, const Noise& noise,
                                      int8_t* codes_transposed, float* column_scale, int rows,
                                      int width, cudaStream_t stream);

// largest[n] = max_m |x|, as bits, where the kernel that made dY did not leave them.
cudaError_t gradient_column_maxima(const int8_t* codes, const float* scale,
                                   const float* input_scale, uint32_t* largest, int rows, int width,
                                   cudaStream_t stream);

}  // namespace wf::kernels

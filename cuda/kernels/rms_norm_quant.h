// RMSNorm and activation quantiser in one pass over the row, for the three inputs of a ternary
// linear.
//
//   h    = bf16(x + delta)               add_rms_norm_quant (also written out: the residual stream)
//        = x                             rms_norm_quant     (first norm of a model, attention
//        output) = activation(gate) * up         glu_norm_quant     (feed-forward, kept in fp32)
//   rstd = 1 / sqrt(mean(h^2) + eps)     fp32, a few ulp: see below
//   y    = (h * rstd) * gain             fp32, in this order, no fused multiply-add
//   a    = max(max|y|, 1e-5),  s = 127 / a,  q = rint_even(y * s)   int8, in [-127, 127]
//
// The row's values stay in fp32 between norm and quantiser. The sum of squares is taken in a fixed
// order (the same bits in every run), not in the order of any other implementation: compare rstd in
// ulps, and q and s exactly given rstd. A NaN or an infinity in a row makes its s a NaN.
// activation: silu(g) = g / (1 + exp(-g)) with the hardware's exp2 and reciprocal (relative error
// under 2^-20 for |g| < 16), or relu(g)^2 exactly.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <stdint.h>

namespace wf::kernels {

enum class GluActivation { kSilu, kRelu2 };

// Shapes: x, delta, sum, q [rows, width]; gain fp32 [width]; scale, rstd fp32 [rows]. Row-major and
// dense, device memory, 16-byte aligned; width a multiple of 16, at most 16384. q may not overlap
// an input; sum may be x or delta. Return cudaErrorInvalidValue for other widths, else the
// launch's.
cudaError_t add_rms_norm_quant(const __nv_bfloat16* x, const __nv_bfloat16* delta,
                               const float* gain, float eps, __nv_bfloat16* sum, int8_t* q,
                               float* scale, float* rstd, int rows, int width, cudaStream_t stream);

cudaError_t rms_norm_quant(const __nv_bfloat16* x, const float* gain, float eps, int8_t* q,
                           float* scale, float* rstd, int rows, int width, cudaStream_t stream);

// gate_up [rows, 2 * width]: the gate's columns, then up's, as one fused product leaves them.
cudaError_t glu_norm_quant(const __nv_bfloat16* gate_up, GluActivation activation,
                           const float* gain, float eps, int8_t* q, float* scale, float* rstd,
                           int rows, int width, cudaStream_t stream);

// The same norms where the quantiser is faded in (lambda < 1) or absent (lambda = 0, as in a
// model's last norm): out = bf16(y + lambda * (q / s - y)), [rows, width]. width at most 8192;
// lambda: one value in device memory.
cudaError_t add_rms_norm_blend(const __nv_bfloat16* x, const __nv_bfloat16* delta,
                               const float* gain, float eps, const float* lambda,
                               __nv_bfloat16* sum, __nv_bfloat16* out, float* rstd, int rows,
                               int width, cudaStream_t stream);

cudaError_t rms_norm_blend(const __nv_bfloat16* x, const float* gain, float eps,
                           const float* lambda, __nv_bfloat16* out, float* rstd, int rows,
                           int width, cudaStream_t stream);

cudaError_t glu_norm_blend(const __nv_bfloat16* gate_up, GluActivation activation,
                           const float* gain, float eps, const float* lambda, __nv_bfloat16* out,
                           float* rstd, int rows, int width, cudaStream_t stream);

}  // namespace wf::kernels

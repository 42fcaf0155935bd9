// Backward of rms_norm_quant.h's norms, straight through the quantiser.
//
//   n     = h * rstd,  g = dy * gain,  c = mean(g * n)        per row, fp32
//   dh    = rstd * (g - n * c)
//   dgain = [dgain +] sum over rows of dy * n                 fp32, in a fixed order
//
//   rms_norm_backward:  dx = bf16(dh [+ residual_gradient])   h = the norm's bf16 input
//   glu_norm_backward:  dgate = bf16(dh * up * activation'(gate)),  dup = bf16(dh *
//   activation(gate))
//                       h = activation(gate) * up, computed again
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include "kernels/quantize_gradient.h"
#include "kernels/rms_norm_quant.h"

namespace wf::kernels {

// dy, h, residual_gradient, dx [rows, width]; gain, dgain fp32 [width]; rstd fp32 [rows].
// residual_gradient may be null; dx may be dy or residual_gradient. width: a multiple of 16, at
// most 8192. workspace: rms_norm_backward_workspace_bytes(), contents free. codes: of what is
// written, [rows, width] here, [rows, 2 * width] below; {} for none.
cudaError_t rms_norm_backward(const __nv_bfloat16* dy, const __nv_bfloat16* h, const float* rstd,
                              const float* gain, const __nv_bfloat16* residual_gradient,
                              __nv_bfloat16* dx, float* dgain, bool accumulate_dgain,
                              void* workspace, int rows, int width, const GradientCodes& codes,
                              cudaStream_t stream);

// gate_up, dgate_up [rows, 2 * width], gate's columns first; dgate_up may be gate_up, and null
// where codes are wanted.
cudaError_t glu_norm_backward(const __nv_bfloat16* dy, const __nv_bfloat16* gate_up,
                              GluActivation activation, const float* rstd, const float* gain,
                              __nv_bfloat16* dgate_up, float* dgain, bool accumulate_dgain,
                              void* workspace, int rows, int width, const GradientCodes& codes,
                              cudaStream_t stream);

size_t rms_norm_backward_workspace_bytes();

}  // namespace wf::kernels

// The int8 codes that rms_norm_quant.h's norms gave, once more and transposed, from the norm's bf16
// input: for dW = dY codes^T * q, which contracts over tokens. So the forward need not keep the
// codes for the backward, nor anything transpose them.
//
//   qt[n, m] = rint_even(((h * rstd[m]) * gain[n]) * scale[m])       bit for bit the forward's q[m,
//   n]
//
// h: the norm's bf16 input, or activation(gate) * up as there. A tile of 128 tokens and 64 columns
// is read, rounded and written in runs of 128 bytes; a kernel that held whole rows, as the norm's
// backward does, would write single bytes.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <stdint.h>

#include "kernels/rms_norm_quant.h"

namespace wf::kernels {

// h [rows, width]; rstd, scale fp32 [rows] as the forward left them; gain fp32 [width]; qt
// [width, rows]. rows and width: multiples of 16, else cudaErrorInvalidValue.
cudaError_t requantize_transposed(const __nv_bfloat16* h, const float* rstd, const float* gain,
                                  const float* scale, int8_t* qt, int rows, int width,
                                  cudaStream_t stream);

// gate_up [rows, 2 * width], gate's columns first.
cudaError_t glu_requantize_transposed(const __nv_bfloat16* gate_up, GluActivation activation,
                                      const float* rstd, const float* gain, const float* scale,
                                      int8_t* qt, int rows, int width, cudaStream_t stream);

}  // namespace wf::kernels

// The values that int8 codes stand for, in bf16: for products with bf16 operands.
//
//   out[m, n] = bf16(float(codes[m, n]) / scale[m])      IEEE division in fp32; without scales the
//                                                        codes themselves, which bf16 holds exactly
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <stdint.h>

namespace wf::kernels {

// codes, out [rows, width], 16-byte aligned; scale fp32 [rows], normal numbers, or null for 1.
// width: a multiple of 16. cudaErrorInvalidValue for other shapes.
cudaError_t dequantize_rows(const int8_t* codes, const float* scale, __nv_bfloat16* out, int rows,
                            int width, cudaStream_t stream);

}  // namespace wf::kernels

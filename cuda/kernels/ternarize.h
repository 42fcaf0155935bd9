// Ternary codes of many weight matrices in a few launches, once per optimizer step.
//
//   delta = max(sum |w| / count, 1e-5)                 fp32; the sum in fp64, in a fixed order
//   code  = clamp(rint_even(w * (1 / delta)), -1, 1)   fp32, 1 / delta an IEEE division
//
// and, for int8 data in general, the transpose.
#pragma once

#include <cuda_runtime_api.h>
#include <stdint.h>

namespace wf::kernels {

// One logical matrix: its own delta. rows and columns are multiples of 16; pointers device memory,
// 16-byte aligned. codes_transposed and packed may be null.
struct TernaryMatrix {
  const float* weight;       // [rows, columns], full precision
  int8_t* codes;             // [rows, columns], -1, 0, 1
  int8_t* codes_transposed;  // [columns, rows], in rows of transposed_pitch
  uint8_t* packed;           // [rows, columns / 4], code j of four at bits 2j as code + 1
  float* delta;              // one value
  int rows, columns;
  // Elements from one row of codes_transposed to the next: at least rows, a multiple of 16. Larger
  // where several matrices' transposes stand side by side, as those of a fused projection do.
  int transposed_pitch;
  int first_tile, first_chunk;  // filled by plan_ternarize
};

constexpr int kSumChunk = 4096;  // consecutive elements of a matrix whose |w| are summed together

struct TernarizePlan {
  int tiles, chunks;  // 0 when a matrix has a bad shape or pitch
};

// Fills first_tile and first_chunk on the host. The list must then be copied to the device.
TernarizePlan plan_ternarize(TernaryMatrix* matrices, int count);

// Both take the device copy of the planned list and absolute_sums, device memory for plan.chunks
// doubles: a matrix's sums of |w| begin at its first_chunk. sum_weights() writes them where no
// optimizer step has left them there; ternarize() reads them.
cudaError_t sum_weights(const TernaryMatrix* matrices, int count, TernarizePlan plan,
                        double* absolute_sums, cudaStream_t stream);
cudaError_t ternarize(const TernaryMatrix* matrices, int count, TernarizePlan plan,
                      const double* absolute_sums, cudaStream_t stream);

// out [columns, rows] = in [rows, columns]^T; multiples of 16.
cudaError_t transpose_s8(const int8_t* in, int8_t* out, int rows, int columns, cudaStream_t stream);

}  // namespace wf::kernels

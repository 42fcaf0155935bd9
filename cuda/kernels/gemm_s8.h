// int8 matrix products of a ternary linear layer, exact in int32, scaled on the way out.
//
//   acc[m, n] = sum_k a[m, k] * b[n, k]                      (int32, any order gives the same bits)
//   gemm_s8_bf16:  d[m, n] = bf16(float(acc) * (column_scale(n) * (1 / row_scale[m])))
//   gemm_s8_f32:   d[m, n] = float(acc) * (1 / row_scale[m])
//
// All arithmetic after acc is fp32, each operation rounded to nearest, 1 / x an IEEE division; the
// normative float(acc) / s * delta differs from it by at most 2 fp32 ulp before the bf16 rounding.
//
// | use     | a              | b                  | row_scale        | column scales        |
// |---------|----------------|--------------------|------------------|----------------------|
// | forward | q      [M, in] | W codes   [out, in]| s of q's rows    | delta per segment    |
// | dX      | dY codes [M, out]| W codes^T [in, out]| scale of dY rows | none: fold delta into dY |
// | dW      | dY codes^T [out, M] | q^T  [in, M]  | scale of dY columns | - (f32 form)      |
//
// Row scales are quantisation scales (codes = round(x * s)), hence the division.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

namespace wf::kernels {

constexpr int kMaxColumnSegments = 4;

// Output columns [end[i - 1], end[i]) are multiplied by *scale[i]; scale == nullptr means 1. Ends
// ascend in multiples of 16 up to N. Scales live in device memory (the ternary deltas of a fused
// projection); count == 0 means 1 everywhere.
struct ColumnScales {
  int count = 0;
  int end[kMaxColumnSegments] = {};
  const float* scale[kMaxColumnSegments] = {};
};

// How the work is cut; which of these exist is what the sweep found use for.
// tile_n: 192 or 256 output columns per tile, of 128 rows that a block's two warpgroups share. With
// 192 columns of bf16 the output of a tile overlaps the product of the next.
// ping_pong: the warpgroups work on tiles of their own, of 64 rows, so that one's output overlaps
// the other's product; with fp32 output 256 columns only.
// hold_b: ping-pong, and a block keeps its tile of b in shared memory while it walks down the rows
// of a; with bf16 output and 192 columns, k <= 640 and no more tiles side by side than the card has
// multiprocessors.
struct GemmS8Config {
  int tile_n;
  bool ping_pong;
  bool hold_b = false;
};

// The configuration that a sweep on the card found fastest for such a problem.
GemmS8Config gemm_s8_bf16_config(int m, int n, int k);
GemmS8Config gemm_s8_f32_config(int m, int n, int k);

// a [m, k], b [n, k], row_scale [m] or null, d [m, n]; row-major, device memory, 16-byte aligned.
// m >= 1 is free; n and k are multiples of 16, k at most 132,096 (|acc| < 2^31 and,
// with ternary b, < 2^24).
// Returns cudaErrorInvalidValue for other shapes, else what the launch returned.
cudaError_t gemm_s8_bf16(const int8_t* a, const int8_t* b, const float* row_scale,
                         const ColumnScales& columns, __nv_bfloat16* d, int m, int n, int k,
                         GemmS8Config config, cudaStream_t stream);

// As above with fp32 output. The product is also split along k, so that few output tiles fill the
// card; int32 partial sums make the result independent of timing. workspace:
// gemm_s8_workspace_bytes() of device memory, contents free. Calls that may overlap in time need
// workspaces of their own.
cudaError_t gemm_s8_f32(const int8_t* a, const int8_t* b, const float* row_scale, float* d, int m,
                        int n, int k, void* workspace, GemmS8Config config, cudaStream_t stream);

size_t gemm_s8_workspace_bytes();

}  // namespace wf::kernels

// What becomes of the int8 product's accumulators: scaled bf16, fp32 that may be added to, or a
// part of a tile that others finish. For kernels/gemm_s8.cu.
#pragma once

#include "device/bf16.cuh"
#include "device/column_scales.cuh"
#include "device/gemm_mainloop.cuh"

namespace wf::kernels::gemm {

__device__ __forceinline__ float row_factor(const Problem& p, int row) {
  return p.row_scale != nullptr && row < p.m ? __frcp_rn(p.row_scale[row]) : 1.0f;
}

// The scales of a fragment's two rows, loaded ahead of the product that they are for.
struct RowScales {
  float upper = 1, lower = 1;

  __device__ RowScales(const Problem& p, int row) {
    row += threadIdx.x % 32 / 4;
    if (p.row_scale == nullptr) return;
    if (row < p.m) upper = p.row_scale[row];
    if (row + 8 < p.m) lower = p.row_scale[row + 8];
  }
};

// Scales to bf16 and stores through shared memory, every warp on its own: 16 rows x 64 columns a
// slot, as many slots at once as there are. kOneScale: all columns of the tile have the same.
template <class L, int kTileN, bool kOneScale>
__device__ __forceinline__ void store_bf16(const int (&acc)[kTileN / 2], const Problem& p,
                                           uint8_t* shared, int warp, int row, int column,
                                           const LoadedScales& scales, const RowScales& rows) {
  constexpr int kRounds = kTileN / 64, kTogether = L::kSlots == kRounds ? kRounds : 1;
  const int lane = threadIdx.x % 32;
  const float factor0 = __frcp_rn(rows.upper), factor1 = __frcp_rn(rows.lower);
  const uint32_t staging =
      shared_address(shared + L::kStaging + warp * L::kSlots * (L::kBytesSlot / 4));
  const float scale = scales.at(column);
  float s0 = __fmul_rn(scale, factor0), s1 = __fmul_rn(scale, factor1);
#pragma unroll
  for (int first = 0; first < kRounds; first += kTogether) {
    if (lane == 0) tma_store_wait_read<L::kSlots - kTogether>();
    __syncwarp();
#pragma unroll
    for (int round = first; round < first + kTogether; ++round) {
      const uint32_t slot = staging + round % L::kSlots * (L::kBytesSlot / 4);
#pragma unroll
      for (int j = 0; j < 4; ++j) {  // 16 columns: two 8x8 matrices beside each other, two below
        if constexpr (!kOneScale) {
          const float own = scales.at(column + round * 64 + j * 16);
          s0 = __fmul_rn(own, factor0), s1 = __fmul_rn(own, factor1);
        }
        const int* v = acc + round * 32 + j * 8;
        const uint32_t address = slot + lane % 16 * 128 + (((2 * j + lane / 16) ^ (lane % 8)) << 4);
        asm volatile(
            "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
            "r"(pack_bf16(v[0] * s0, v[1] * s0)), "r"(pack_bf16(v[2] * s1, v[3] * s1)),
            "r"(pack_bf16(v[4] * s0, v[5] * s0)), "r"(pack_bf16(v[6] * s1, v[7] * s1))
            : "memory");
      }
    }
    async_proxy_fence();
    __syncwarp();
    if (lane == 0) {
#pragma unroll
      for (int round = first; round < first + kTogether; ++round) {
        tma_store(p.d, column + round * 64, row, staging + round % L::kSlots * (L::kBytesSlot / 4));
      }
      tma_store_commit();
    }
  }
}

// Four values of a fragment, fragment registers 4j .. 4j + 3: two columns of two rows.
struct Quad {
  int row, column;  // of value 0; values 2 and 3 lie 8 rows below
};

// Place of a thread's quad j in a 64-row slice whose first row and column are given.
__device__ __forceinline__ Quad quad_place(int slice_row, int column, int j, int thread) {
  return {slice_row + thread / 32 * 16 + thread % 32 / 4, column + 8 * j + thread % 4 * 2};
}

// d (+)= float(acc) * factor for kQuads quads beginning at j; reads all of d before it writes.
template <int kQuads>
__device__ __forceinline__ void store_f32(const int* acc, const Problem& p, int slice_row,
                                          int column, int j, int thread) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = quad_place(slice_row, column, j, thread).row + 8 * half;
    if (row >= p.m) continue;
    const float factor = row_factor(p, row);
    float2 value[kQuads];
    const auto at = [&](int i) {
      const size_t first = static_cast<size_t>(row) * p.n;
      return reinterpret_cast<float2*>(p.out + first + quad_place(0, column, j + i, thread).column);
    };
    const auto inside = [&](int i) { return column + 8 * (j + i) < p.n; };
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      value[i] = p.accumulate && inside(i) ? *at(i) : float2{0.0f, 0.0f};
    }
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      const float x = __fmul_rn(acc[4 * i + 2 * half], factor);
      const float y = __fmul_rn(acc[4 * i + 2 * half + 1], factor);
      if (inside(i)) *at(i) = {__fadd_rn(value[i].x, x), __fadd_rn(value[i].y, y)};
    }
  }
}

// A part of a split tile, for merge_parts_kernel.
template <int kTileN>
__device__ __forceinline__ void store_part(const int (&acc)[kTileN / 2], const Problem& p,
                                           int slice) {
  int4* to =
      p.partial + static_cast<size_t>(slice) * (kTileN / 8) * kWarpgroup + threadIdx.x % kWarpgroup;
#pragma unroll
  for (int j = 0; j < kTileN / 8; ++j) {
    __stcg(to + j * kWarpgroup,
           make_int4(acc[4 * j], acc[4 * j + 1], acc[4 * j + 2], acc[4 * j + 3]));
  }
}

}  // namespace wf::kernels::gemm

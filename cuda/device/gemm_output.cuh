// What becomes of the int8 product's accumulators: scaled bf16, fp32, or a
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

// Where a warp's 16 rows of a tile belong, and what their two rows of a fragment are multiplied by.
struct Place {
  int row = 0, column = 0;
  float upper = 0, lower = 0;

  Place() = default;
  __device__ Place(int row, int column, const RowScales& scales) : row(row), column(column) {
    upper = __frcp_rn(scales.upper);
    lower = __frcp_rn(scales.lower);
  }
};

// Takes kCount rounds of a tile, from `first` on, through shared memory, every warp on its own: a
// round is 16 rows x 128 bytes and has a slot, 16-byte unit u of row r at unit u ^ (r % 8).
// put(round, slot) fills it.
template <class L, int kCount, class Put>
__device__ __forceinline__ void store_rounds(const Problem& p, uint8_t* shared, int warp,
                                             const Place& place, int round_columns, int first,
                                             const Put& put) {
  const int lane = threadIdx.x % 32;
  const auto slot = [&](int round) {
    return shared_address(shared + L::kStaging) +
           (warp * L::kSlots + round % L::kSlots) * (L::kBytesSlot / 4);
  };
  if (lane == 0) tma_store_wait_read<L::kSlots - kCount>();
  __syncwarp();
#pragma unroll
  for (int round = first; round < first + kCount; ++round) put(round, slot(round));
  async_proxy_fence();
  __syncwarp();
  if (lane == 0) {
#pragma unroll
    for (int round = first; round < first + kCount; ++round) {
      tma_store(p.d, place.column + round * round_columns, place.row, slot(round));
    }
    tma_store_commit();
  }
}

// 64 columns a round. kOneScale: all columns of the tile have the same.
template <class L, int kTileN, int kCount, bool kOneScale>
__device__ __forceinline__ void store_bf16(const int (&acc)[kTileN / 2], const Problem& p,
                                           uint8_t* shared, int warp, const Place& place,
                                           const LoadedScales& scales, int first) {
  const int lane = threadIdx.x % 32;
  store_rounds<L, kCount>(p, shared, warp, place, 64, first, [&](int round, uint32_t slot) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {  // 16 columns: two 8x8 matrices beside each other, two below
      const float scale = scales.at(place.column + (kOneScale ? 0 : round * 64 + j * 16));
      const float s0 = __fmul_rn(scale, place.upper), s1 = __fmul_rn(scale, place.lower);
      const int* v = acc + round * 32 + j * 8;
      const uint32_t address = slot + lane % 16 * 128 + (((2 * j + lane / 16) ^ (lane % 8)) << 4);
      asm volatile(
          "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
          "r"(pack_bf16(v[0] * s0, v[1] * s0)), "r"(pack_bf16(v[2] * s1, v[3] * s1)),
          "r"(pack_bf16(v[4] * s0, v[5] * s0)), "r"(pack_bf16(v[6] * s1, v[7] * s1))
          : "memory");
    }
  });
}

// 32 columns a round, one round.
template <class L, int kTileN>
__device__ __forceinline__ void store_f32(const int (&acc)[kTileN / 2], const Problem& p,
                                          uint8_t* shared, int warp, const Place& place,
                                          int round) {
  const int lane = threadIdx.x % 32;
  store_rounds<L, 1>(p, shared, warp, place, 32, round, [&](int, uint32_t slot) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int* v = acc + round * 16 + j * 4;
      const uint32_t unit = (2 * j + lane % 4 / 2) ^ (lane / 4);  // of the row and of that 8 below
      const uint32_t address = slot + lane / 4 * 128 + (unit << 4) + lane % 2 * 8;
      const auto put = [](uint32_t to, float x, float y) {
        asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(to), "f"(x), "f"(y) : "memory");
      };
      put(address, __fmul_rn(v[0], place.upper), __fmul_rn(v[1], place.upper));
      put(address + 8 * 128, __fmul_rn(v[2], place.lower), __fmul_rn(v[3], place.lower));
    }
  });
}

// Four values of a fragment, fragment registers 4j .. 4j + 3: two columns of two rows.
struct Quad {
  int row, column;  // of value 0; values 2 and 3 lie 8 rows below
};

// Place of a thread's quad j in a 64-row slice whose first row and column are given.
__device__ __forceinline__ Quad quad_place(int slice_row, int column, int j, int thread) {
  return {slice_row + thread / 32 * 16 + thread % 32 / 4, column + 8 * j + thread % 4 * 2};
}

// d = float(acc) * factor for kQuads quads beginning at j, past shared memory.
template <int kQuads>
__device__ __forceinline__ void store_quads(const int* acc, const Problem& p, int slice_row,
                                            int column, int j, int thread) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = quad_place(slice_row, column, j, thread).row + 8 * half;
    if (row >= p.m) continue;
    const float factor = row_factor(p, row);
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      if (column + 8 * (j + i) >= p.n) continue;
      float* to = p.out + static_cast<size_t>(row) * p.n;
      *reinterpret_cast<float2*>(to + quad_place(0, column, j + i, thread).column) = {
          __fmul_rn(acc[4 * i + 2 * half], factor), __fmul_rn(acc[4 * i + 2 * half + 1], factor)};
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

// Rotary position embedding of eight half-split pairs, see kernels/qkv_rope.h.
#pragma once

#include <stdint.h>

#include "device/bf16.cuh"

namespace wf::kernels {

struct Rotation {
  float cos[8], sin[8];

  // cos, sin [positions, half]; of pairs first .. first + 7.
  __device__ __forceinline__ Rotation(const float* cos_table, const float* sin_table,
                                      int64_t position, int half, int first) {
    load_eight(cos_table + position * half + first, cos);
    load_eight(sin_table + position * half + first, sin);
  }

  // kTurn: 1 as the embedding turns, -1 back.
  template <int kTurn>
  __device__ __forceinline__ void apply(float (&low)[8], float (&high)[8]) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float s = kTurn * sin[i], before = low[i];
      low[i] = fmaf(-high[i], s, __fmul_rn(before, cos[i]));
      high[i] = fmaf(before, s, __fmul_rn(high[i], cos[i]));
    }
  }
};

}  // namespace wf::kernels

// How threads share a row of the fused q/k/v projection, for qkv_rope.h's kernels. A thread holds
// the eight pairs of one place in a head: 16 bytes of its lower half and the 16 bytes that they
// turn with. A head is `lanes` neighbouring threads, a power of two (those beyond the head's end
// idle), so that a thread keeps its place in the head, hence its angles and gains, for all heads
// that it works on.
#pragma once

#include "kernels/qkv_rope.h"

namespace wf::kernels {

constexpr int kMaxHeadDim = 256;
constexpr int kPairs = 2;            // heads per thread
constexpr int kMaxRowThreads = 512;  // backward

// A row of the fused projection, as the kernels see it.
struct QkvLayout {
  int heads, kv_heads, rotated;  // rotated = heads + kv_heads
  int head_dim, half;
  int lane_bits, lanes;
  int row_width;  // elements
};

inline bool make_layout(QkvShape shape, int tokens, QkvLayout& layout) {
  const bool valid = tokens >= 1 && shape.sequence >= 1 && tokens % shape.sequence == 0 &&
                     shape.heads >= 1 && shape.kv_heads >= 1 && shape.head_dim >= 32 &&
                     shape.head_dim <= kMaxHeadDim && shape.head_dim % 16 == 0;
  if (!valid) return false;
  int bits = 1;
  while ((16 << bits) < shape.head_dim) ++bits;
  const int64_t heads =
      static_cast<int64_t>(shape.heads) + 2 * static_cast<int64_t>(shape.kv_heads);
  if (heads << bits > kPairs * kMaxRowThreads) return false;
  layout = {shape.heads,
            shape.kv_heads,
            shape.heads + shape.kv_heads,
            shape.head_dim,
            shape.head_dim / 2,
            bits,
            1 << bits,
            static_cast<int>(heads) * shape.head_dim};
  return true;
}

// Sum over the lanes of a head; all lanes of the warp must call together.
__device__ __forceinline__ float head_sum(float value, int lanes) {
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    value = __fadd_rn(value, __shfl_xor_sync(0xffffffffu, value, distance));
  }
  return value;
}

}  // namespace wf::kernels

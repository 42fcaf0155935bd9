// Philox4x32-7, a counter-based random generator: Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011 (seven rounds is the least that passes all of BigCrush there). The same
// (key, counter) gives the same four words everywhere.
#pragma once

#include <stdint.h>

namespace wf::kernels {

__device__ __forceinline__ uint4 philox(uint2 key, uint4 counter) {
#pragma unroll
  for (int round = 0; round < 7; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, counter.x), low0 = 0xD2511F53u * counter.x;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, counter.z), low1 = 0xCD9E8D57u * counter.z;
    counter = {high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0};
    key.x += 0x9E3779B9u;
    key.y += 0xBB67AE85u;
  }
  return counter;
}

// Rounding noise from the low 14 bits of r: uniform over the 2^14 midpoints (k + 1/2) / 2^14 - 1/2.
__device__ __forceinline__ float rounding_noise(uint32_t r) {
  const float one_to_two = __uint_as_float(0x3f800000u | (r & 0x3fffu) << 9);
  return __fadd_rn(one_to_two, -1.5f + 0x1p-15f);
}

}  // namespace wf::kernels

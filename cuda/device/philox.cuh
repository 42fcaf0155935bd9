// Philox2x32-7, a counter-based random generator: Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011 (seven rounds is the least that passes all of BigCrush there). The same
// (key, counter) gives the same two words everywhere.
#pragma once

#include <stdint.h>

namespace wf::kernels {

__device__ __forceinline__ uint2 philox(uint32_t key, uint2 counter) {
#pragma unroll
  for (int round = 0; round < 7; ++round) {
    const uint32_t high = __umulhi(0xD256D193u, counter.x), low = 0xD256D193u * counter.x;
    counter = {high ^ key ^ counter.y, low};
    key += 0x9E3779B9u;
  }
  return counter;
}

}  // namespace wf::kernels

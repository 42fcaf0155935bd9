#include "base/random.h"

#include <bit>

namespace wf {

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = kMultiplier0 * c[0], p1 = kMultiplier1 * c[2];
    c = {uint32_t(p1 >> 32) ^ c[1] ^ k[0], uint32_t(p1), uint32_t(p0 >> 32) ^ c[3] ^ k[1],
         uint32_t(p0)};
    k[0] += kWeyl0;
    k[1] += kWeyl1;
  }
  return c;
}

uint64_t random_bits(uint64_t key, uint64_t a, uint64_t b) {
  const auto r = philox4x32({uint32_t(a), uint32_t(a >> 32), uint32_t(b), uint32_t(b >> 32)},
                            {uint32_t(key), uint32_t(key >> 32)});
  return uint64_t(r[1]) << 32 | r[0];
}

double random_uniform(uint64_t key, uint64_t a, uint64_t b) {
  return double(random_bits(key, a, b) >> 11) * 0x1p-53;
}

uint64_t random_permutation(uint64_t key, uint64_t size, uint64_t index) {
  if (size <= 1) return 0;
  const int half_bits = (std::bit_width(size - 1) + 1) / 2;
  const uint64_t mask = (uint64_t(1) << half_bits) - 1;
  do {
    uint64_t left = index >> half_bits, right = index & mask;
    // Fewer than eight rounds favour some places when a half has only a few bits.
    for (uint64_t round = 0; round < 8; ++round) {
      const uint64_t mixed = left ^ (random_bits(key, right, round) & mask);
      left = right;
      right = mixed;
    }
    index = left << half_bits | right;
  } while (index >= size);
  return index;
}

}  // namespace wf

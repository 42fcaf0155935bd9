// Counter-based random numbers: a value is a function of (key, counter), so a state is a few
// integers and any position of a sequence can be computed alone. Philox4x32-10: Salmon, Moraes,
// Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11.
#pragma once
#include <array>
#include <cstdint>

namespace wf {

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// 64 random bits for position (a, b) of the stream `key`.
uint64_t random_bits(uint64_t key, uint64_t a, uint64_t b = 0);

// Uniform in [0, 1), 53 bits.
double random_uniform(uint64_t key, uint64_t a, uint64_t b = 0);

// A pseudo-random permutation of 0..size-1: where `index` goes. A Feistel network of Philox rounds
// on the next even power of two, walked until it lands inside (at most a few steps on average 4).
uint64_t random_permutation(uint64_t key, uint64_t size, uint64_t index);

}  // namespace wf

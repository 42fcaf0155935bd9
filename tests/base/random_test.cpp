#include "base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace wf {
namespace {

// Random123's kat_vectors, "philox 4x32 10".
TEST(Random, PhiloxGivesThePublishedAnswers) {
  using Four = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, UniformFillsTheHalfOpenUnitInterval) {
  constexpr int kDraws = 100000, kBins = 20;
  std::vector<int> bins(kBins);
  double sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = random_uniform(7, i);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    ++bins[int(u * kBins)];
    sum += u;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.005);  // five standard errors
  double chi2 = 0;
  for (const int n : bins) chi2 += std::pow(n - kDraws / kBins, 2) / (kDraws / kBins);
  EXPECT_LT(chi2, 50);  // 19 degrees of freedom: exceeded once in 7,000
}

TEST(Random, EveryArgumentMatters) {
  EXPECT_NE(random_bits(1, 0), random_bits(2, 0));
  EXPECT_NE(random_bits(1, 0), random_bits(1, 1));
  EXPECT_NE(random_bits(1, 0, 0), random_bits(1, 0, 1));
  EXPECT_NE(random_bits(uint64_t(1) << 32, 0), random_bits(0, 0));
  EXPECT_NE(random_bits(0, uint64_t(1) << 32), random_bits(0, 0));
  EXPECT_NE(random_bits(0, 0, uint64_t(1) << 32), random_bits(0, 0));
}

std::vector<uint64_t> permutation(uint64_t key, uint64_t size) {
  std::vector<uint64_t> all(size);
  for (uint64_t i = 0; i < size; ++i) all[i] = random_permutation(key, size, i);
  return all;
}

TEST(Random, PermutationsReachEveryPlaceOnce) {
  std::vector<uint64_t> sizes(300);
  std::iota(sizes.begin(), sizes.end(), 0);
  for (const uint64_t size : {1023, 1024, 1025, 4095, 4097, 65536, 65537, 100003})
    sizes.push_back(size);
  for (const uint64_t size : sizes) {
    for (const uint64_t key : {uint64_t(0), uint64_t(1), ~uint64_t(0)}) {
      auto places = permutation(key, size);
      std::sort(places.begin(), places.end());
      for (uint64_t i = 0; i < size; ++i)
        ASSERT_EQ(places[i], i) << "size " << size << " key " << key;
    }
  }
}

TEST(Random, PermutationsOfHugeSizesStayInside) {
  for (const uint64_t size : {(uint64_t(1) << 40) + 1, uint64_t(1) << 63, ~uint64_t(0)})
    for (uint64_t i = 0; i < 100; ++i) EXPECT_LT(random_permutation(5, size, i), size);
}

// Over many keys, an index lands in every place equally often, and so do neighbours.
TEST(Random, PermutationsOfSmallSizesAreUniform) {
  for (const uint64_t size : {2, 3, 5, 8, 13, 16}) {
    constexpr int kKeys = 10000;
    std::vector<int> place(size * size), ordered_pair(size * size);
    for (int key = 0; key < kKeys; ++key) {
      const auto all = permutation(key, size);
      for (uint64_t i = 0; i < size; ++i) ++place[i * size + all[i]];
      ++ordered_pair[all[0] * size + all[1]];
    }
    auto chi2 = [](const std::vector<int>& counts, double expected) {
      double sum = 0;
      for (const int n : counts) sum += std::pow(n - expected, 2) / expected;
      return sum;
    };
    // (size-1)^2 degrees of freedom: a place is taken once in every permutation. Mean + 6
    // deviations.
    const double n = double(size), freedom = (n - 1) * (n - 1), pairs = n * (n - 1);
    EXPECT_LT(chi2(place, kKeys / n) * (n - 1) / n, freedom + 6 * std::sqrt(2 * freedom))
        << "size " << size;
    for (uint64_t i = size; i-- > 0;)  // two never share a place
      ordered_pair.erase(ordered_pair.begin() + int64_t(i * size + i));
    EXPECT_LT(chi2(ordered_pair, kKeys / pairs), pairs + 6 * std::sqrt(2 * pairs))
        << "size " << size;
  }
}

TEST(Random, KeysGiveDifferentPermutations) {
  EXPECT_NE(permutation(1, 100), permutation(2, 100));
  auto sorted = permutation(1, 100);
  EXPECT_FALSE(std::is_sorted(sorted.begin(), sorted.end()));
}

}  // namespace
}  // namespace wf

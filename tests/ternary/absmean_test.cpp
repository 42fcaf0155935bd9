// The formula on plain numbers, with and without wide vectors, in every type that folders have,
// against a loop in the words of the paper.
#include "ternary/absmean.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/float16.h"
#include "base/random.h"
#include "base/simd.h"
#include "base/threads.h"
#include "ternary/packed_codes.h"

namespace wf {
namespace {

class EitherVectors : public testing::TestWithParam<bool> {
 protected:
  EitherVectors() : before_(wide_vectors()) {
    if (GetParam() && !before_) skip_ = true;
    wide_vectors() = GetParam();
  }
  ~EitherVectors() override { wide_vectors() = before_; }
  void SetUp() override {
    if (skip_) GTEST_SKIP() << "this processor has no AVX2 or no F16C";
  }

 private:
  bool before_, skip_ = false;
};
INSTANTIATE_TEST_SUITE_P(Vectors, EitherVectors, testing::Bool(),
                         [](const auto& info) { return info.param ? "wide" : "baseline"; });

// Weights of every sign and size, in a type of 16 bits where `bits16` reads it.
std::vector<float> weights(std::size_t count, float size) {
  std::vector<float> out;
  for (std::size_t i = 0; i < count; ++i)
    out.push_back(size * (float(random_bits(3, i) >> 40) / float(1 << 23) - 1));
  return out;
}

StoredTensor stored(const std::vector<float>& values, Dtype dtype) {
  const auto count = int64_t(values.size());
  if (dtype == Dtype::kF32) return in_memory(dtype, {count}, values);
  std::vector<uint16_t> bits(values.size());
  for (std::size_t i = 0; i < values.size(); ++i)
    bits[i] = dtype == Dtype::kF16 ? float_to_half(values[i]) : float_to_bfloat16(values[i]);
  return in_memory(dtype, {count}, std::move(bits));
}

std::vector<float> floats(const StoredTensor& tensor) {
  std::vector<float> out(std::size_t(tensor.numel()));
  read_floats(tensor, out.data());
  return out;
}

TEST_P(EitherVectors, CodesAndScaleAreThoseOfThePapersLoop) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kF16, Dtype::kBF16})
    for (const std::size_t count : {std::size_t{1}, std::size_t{37}, std::size_t{100'003}})
      for (const float size : {1e-7F, 3e-4F, 0.05F, 900.0F}) {
        const StoredTensor weight = stored(weights(count, size), dtype);
        const auto values = floats(weight);
        double sum = 0;
        for (const float value : values) sum += std::fabs(double(value));
        const float scale = std::max(float(sum / double(count)), 1e-5F);
        ASSERT_EQ(absmean_of(abs_sum(weight, parallel_for), weight.numel()), scale);
        std::vector<int8_t> codes(count);
        ternary_codes(weight, scale, codes.data());
        std::vector<float> as_floats(count);
        ternary_codes(values, scale, as_floats.data());
        const float reciprocal = 1 / scale;
        for (std::size_t i = 0; i < count; ++i) {
          const float truth = std::clamp(std::nearbyint(values[i] * reciprocal), -1.0F, 1.0F);
          ASSERT_EQ(codes[i], truth) << values[i] << " by " << scale;
          ASSERT_EQ(as_floats[i], truth);
        }
      }
}

// Every number that 16 bits can hold, by scales on whose ties some of them lie.
TEST_P(EitherVectors, EveryHalfHasTheFormulasCode) {
  for (const Dtype dtype : {Dtype::kF16, Dtype::kBF16}) {
    std::vector<uint16_t> bits;
    for (uint32_t i = 0; i < 0x10000; ++i)
      if ((i & 0x7FFF) <= (dtype == Dtype::kF16 ? 0x7C00 : 0x7F80)) bits.push_back(uint16_t(i));
    const StoredTensor all = in_memory(dtype, {int64_t(bits.size())}, bits);
    const auto values = floats(all);
    for (const float scale : {1e-5F, 1.0F, 0.25F, 0.0173F, 1.0F / 3, 2048.0F}) {
      std::vector<int8_t> codes(bits.size());
      ternary_codes(all, scale, codes.data());
      const float reciprocal = 1 / scale;
      for (std::size_t i = 0; i < codes.size(); ++i)
        ASSERT_EQ(codes[i], std::clamp(std::nearbyint(values[i] * reciprocal), -1.0F, 1.0F))
            << values[i] << " by " << scale;
    }
  }
}

// Mistake 5: the mean of the parts' means. The parts that the sum is taken in differ in length
// here.
TEST_P(EitherVectors, TheScaleIsTheMeanOfAllWeightsNotOfTheMeansOfParts) {
  std::vector<float> values(65'536 + 8, 1.0F);
  std::fill(values.end() - 8, values.end(), 1025.0F);
  const StoredTensor weight = in_memory(Dtype::kF32, {int64_t(values.size())}, values);
  EXPECT_EQ(absmean_of(abs_sum(weight, parallel_for), weight.numel()), 1 + 8 * 1024.0F / 65'544);
}

TEST_P(EitherVectors, SumsDependNeitherOnTheTypeNorOnTheVectors) {
  const StoredTensor half = stored(weights(100'003, 0.02F), Dtype::kF16);
  const StoredTensor wide = in_memory(Dtype::kF32, half.shape, floats(half));
  const double sum = abs_sum(half, parallel_for);
  EXPECT_EQ(sum, abs_sum(wide, parallel_for));
  const auto one_by_one = [](int64_t count, const std::function<void(int64_t)>& action) {
    for (int64_t i = count; i-- > 0;) action(i);
  };
  wide_vectors() = false;
  EXPECT_EQ(sum, abs_sum(half, one_by_one));
}

TEST_P(EitherVectors, HalvesAreReadAndRoundedAsTheCompilerDoes) {
  std::vector<uint16_t> bits(0x10000);
  for (uint32_t i = 0; i < bits.size(); ++i) bits[i] = uint16_t(i);
  std::vector<float> values(bits.size());
  half_to_float(bits, values.data());
  std::vector<uint16_t> again(bits.size());
  float_to_half(values, again.data());
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if ((i & 0x7FFF) > 0x7C00) {
      ASSERT_TRUE(std::isnan(values[i]));
      continue;
    }
    const double truth =
        std::ldexp((i & 0x3FF) + (i & 0x7C00 ? 0x400 : 0), std::max(int(i >> 10 & 31), 1) - 25);
    ASSERT_EQ(std::fabs(values[i]), (i & 0x7FFF) == 0x7C00 ? INFINITY : truth);
    ASSERT_EQ(std::signbit(values[i]), i >= 0x8000);
    ASSERT_EQ(again[i], i);
  }
  // Between two neighbours: to the nearer one, and from the middle to the even one.
  for (uint32_t i = 0; i + 1 < 0x7C00; ++i) {
    const float middle = (values[i] + values[i + 1]) / 2;
    const std::array<float, 8> around = {middle, std::nextafter(middle, 0.0F),
                                         std::nextafter(middle, INFINITY)};
    std::array<uint16_t, 8> rounded;
    float_to_half(around, rounded.data());
    ASSERT_EQ(rounded[0], i % 2 ? i + 1 : i);
    ASSERT_EQ(rounded[1], i);
    ASSERT_EQ(rounded[2], i + 1);
  }
  // bfloat16 likewise, by the numbers themselves.
  for (const auto& [value, expected] :
       std::initializer_list<std::pair<float, uint16_t>>{{1.0F, 0x3F80},
                                                         {1.00390625F, 0x3F80},
                                                         {1.01171875F, 0x3F82},
                                                         {-0.1F, 0xBDCD},
                                                         {3.4e38F, 0x7F80},
                                                         {INFINITY, 0x7F80},
                                                         {1e-40F, 0x0001},
                                                         {NAN, 0x7FC0}}) {
    uint16_t rounded;
    float_to_bfloat16({&value, 1}, &rounded);
    EXPECT_EQ(rounded, expected) << value;
  }
}

TEST_P(EitherVectors, OneMagnitudeIsSeenAndItsSignsAreTheCodes) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kF16, Dtype::kBF16}) {
    std::vector<float> values;
    std::vector<int8_t> truth;
    for (uint64_t i = 0; i < 5000; ++i) {
      truth.push_back(i < 1100 ? 0 : int8_t(random_bits(9, i) % 3) - 1);
      values.push_back(0.375F * float(truth.back()));
    }
    EXPECT_EQ(only_magnitude(stored(values, dtype)), 0.375F);
    std::vector<int8_t> codes(values.size());
    sign_codes(stored(values, dtype), codes.data());
    EXPECT_EQ(codes, truth);
    values[4999] = 0.5F;
    EXPECT_EQ(only_magnitude(stored(values, dtype)), 0);
    EXPECT_EQ(only_magnitude(stored(std::vector<float>(70, 0.0F), dtype)), 0);
  }
}

TEST(Absmean, IsNotFiniteWhereAWeightIsNot) {
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    auto values = weights(70'000, 1);
    values[69'999] = bad;
    EXPECT_FALSE(
        std::isfinite(absmean_of(abs_sum(stored(values, Dtype::kF32), parallel_for), 70'000)));
  }
}

TEST(ParallelFor, DoesEverythingOnceAndPassesErrorsOn) {
  for (int round = 0; round < 200; ++round) {
    std::vector<int> done(1000);
    parallel_for(1000, [&](int64_t i) { ++done[std::size_t(i)]; });
    EXPECT_EQ(done, std::vector<int>(1000, 1));
  }
  EXPECT_THROW(parallel_for(100,
                            [](int64_t i) {
                              if (i == 7) throw std::runtime_error("seven");
                            }),
               std::runtime_error);
  parallel_for(0, [](int64_t) { FAIL(); });
}

TEST(PackedCodes, HoldRowsOfFourQuartersInAByte) {
  // Rows 0, 1 | 2, 3 | 4, 5 | 6, 7 of a matrix of 8 x 1, lowest bits first.
  const std::vector<int8_t> codes = {-1, 0, 1, -1, 0, 1, 1, 1};
  const auto packed = pack_codes(codes, 8, 1);
  EXPECT_EQ(packed, (std::vector<uint8_t>{0b10'01'10'00, 0b10'10'00'01}));
  std::vector<int8_t> again(8);
  EXPECT_TRUE(unpack_codes(packed, 8, 1, 0, 8, again.data()));
  EXPECT_EQ(again, codes);
  EXPECT_FALSE(unpack_codes(std::vector<uint8_t>{0b11}, 4, 1, 0, 4, again.data()));
}

}  // namespace
}  // namespace wf

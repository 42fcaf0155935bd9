#include "kernels/quantize_gradient.h"

#include <array>
#include <bit>
#include <cmath>

#include "device.h"

namespace wf::kernels {
namespace {

using namespace wf::testing;

// Philox2x32-7, written from the paper's definition.
std::array<uint32_t, 2> philox(uint32_t key, std::array<uint32_t, 2> c) {
  for (int round = 0; round < 7; ++round) {
    const uint64_t product = 0xD256D193ull * c[0];
    c = {static_cast<uint32_t>(product >> 32) ^ key ^ c[1], static_cast<uint32_t>(product)};
    key += 0x9E3779B9u;
  }
  return c;
}

// The 16 random bits of element `at` of a tensor.
uint32_t noise_of(uint64_t seed, uint32_t step, uint32_t tensor, uint64_t at) {
  const auto words = philox(
      static_cast<uint32_t>(seed) ^ tensor * 0x9E3779B9u,
      {static_cast<uint32_t>(at / 8), step + static_cast<uint32_t>(seed >> 32) * 0x85EBCA6Bu});
  return std::rotr(words[at % 8 / 4], static_cast<int>(8 * (at % 4))) & 0xffff;
}

// x * factor has at most 48 bits: exact in fp64.
double rounded(float x, float factor, uint32_t k) {
  const double t = std::nearbyint(static_cast<double>(x) * factor * 32768.0);
  return std::floor((2 * t + k) / 65536.0);
}

float product_towards_zero(float a, float b) {
  const double product = static_cast<double>(a) * b;
  const float nearest = static_cast<float>(product);
  return nearest > product ? std::nextafter(nearest, 0.0f) : nearest;
}

class QuantizeGradient : public Gpu {
 protected:
  std::vector<uint16_t> random_gradient(int rows, int width) {
    std::vector<float> dy(static_cast<size_t>(rows) * width);
    for (int r = 0; r < rows; ++r) {
      // Gradients are small; one row of zeros, one far below fp32's normal 1/127 range, one huge.
      const float size = r == 0 ? 0.0f : r == 1 ? 1e-35f : r == 2 ? 1e30f : 1e-4f;
      for (int c = 0; c < width; ++c) {
        dy[static_cast<size_t>(r) * width + c] =
            size * normal() * (random_() % 300 == 0 ? 20.0f : 1.0f);
      }
    }
    return to_bf16_bits(dy);
  }
};

TEST_F(QuantizeGradient, ReferenceGeneratorHasThePublishedAnswer) {  // Random123's kat_vectors
  using Words = std::array<uint32_t, 2>;
  EXPECT_EQ(philox(0, {0, 0}), (Words{0x257a3673, 0xcd26be2a}));
  EXPECT_EQ(philox(0x13198a2e, {0x243f6a88, 0x85a308d3}), (Words{0xbedbbe6b, 0xe4c770b3}));
}

TEST_F(QuantizeGradient, CodesAndScalesAreExact) {
  for (int width :
       {16, 80, 576, 960, 1024, 1536, 2048, 2560, 3072, 3840, 4096, 6144, 8192, 13824}) {
    SCOPED_TRACE("width " + std::to_string(width));
    const int rows = width < 2048 ? 3300 : 900;
    const auto dy = random_gradient(rows, width);
    const std::vector<float> deltas = {0.037f, 1.9f, 0.4f};
    const uint64_t seed = random_() * 0x100000001ull ^ random_();
    const uint32_t step_value = random_(), tensor = random_();
    const DeviceArray<uint16_t> device_dy(dy);
    const DeviceArray<float> device_deltas(deltas), scale(rows);
    const DeviceArray<uint32_t> step(std::vector<uint32_t>{step_value});
    const DeviceArray<int8_t> codes(dy.size());
    const int ends[3] = {width / 32 * 16, width - 16, width};
    ColumnScales columns;
    for (int i = 0; i < 3; ++i) {
      if (ends[i] <= (columns.count ? columns.end[columns.count - 1] : 0)) continue;
      columns.end[columns.count] = ends[i];
      columns.scale[columns.count++] = device_deltas.get() + i;
    }
    check(quantize_gradient_rows(as_bf16(device_dy), columns, {seed, step.get(), tensor},
                                 codes.get(), scale.get(), rows, width, nullptr));
    finish();
    const auto got = codes.read();
    const auto got_scale = scale.read();
    for (int r = 0; r < rows; ++r) {
      if (r >= 3 && r % 97 != 5 && r != rows - 1) continue;
      const auto delta = [&](int c) { return deltas[c < ends[0] ? 0 : c < ends[1] ? 1 : 2]; };
      const uint16_t* row = dy.data() + static_cast<size_t>(r) * width;
      float largest = 0;
      for (int c = 0; c < width; ++c) {
        largest = std::max(largest, std::abs(from_bf16_bits(row[c]) * delta(c)));
      }
      const float s = 127.0f / std::max(largest, 1e-30f);
      ASSERT_EQ(got_scale[r], s) << "row " << r;
      for (int c = 0; c < width; ++c) {
        const size_t at = static_cast<size_t>(r) * width + c;
        const float factor = product_towards_zero(delta(c), s);
        ASSERT_EQ(got[at],
                  rounded(from_bf16_bits(row[c]), factor, noise_of(seed, step_value, tensor, at)))
            << "row " << r << " column " << c;
      }
    }
  }
}

TEST_F(QuantizeGradient, RoundingIsUnbiasedAndNeverFlipsTheSign) {
  // The largest value lands on 127 whatever the noise; the others average to x * s.
  const int rows = 4096, width = 576;
  std::vector<float> dy(static_cast<size_t>(rows) * width);
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < width; ++c) {
      dy[static_cast<size_t>(r) * width + c] = c % 2 ? 0.75f : 0.75f * (c / 576.0f);
    }
  }
  const auto bits = to_bf16_bits(dy);
  const DeviceArray<uint16_t> device_dy(bits);
  const DeviceArray<float> scale(rows);
  const DeviceArray<uint32_t> step(std::vector<uint32_t>{7});
  const DeviceArray<int8_t> codes(bits.size());
  check(quantize_gradient_rows(as_bf16(device_dy), {}, {random_(), step.get(), 3}, codes.get(),
                               scale.get(), rows, width, nullptr));
  finish();
  const auto got = codes.read();
  const float s = scale.read()[0];
  double worst = 0;
  for (int c = 0; c < width; ++c) {
    double mean = 0;
    for (int r = 0; r < rows; ++r) mean += got[static_cast<size_t>(r) * width + c];
    mean /= rows;
    const double want = static_cast<double>(from_bf16_bits(bits[c])) * s;
    if (c % 2 == 1) {
      EXPECT_EQ(mean, 127) << "column " << c;
    }
    worst = std::max(worst, std::abs(mean - want));
  }
  EXPECT_LT(worst, 6 * 0.5 / std::sqrt(rows));  // six standard errors of a Bernoulli mean
}

TEST_F(QuantizeGradient, ColumnCodesAreExactAndTransposed) {
  for (auto [rows, width] : {std::pair{16, 16}, {64, 64}, {80, 208}, {1040, 576}, {528, 3072}}) {
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(width));
    auto row_codes = random_codes(static_cast<size_t>(rows) * width, 127);
    for (int r = 0; r < rows; ++r) row_codes[static_cast<size_t>(r) * width + 5] = 0;
    std::vector<float> scale(rows), input_scale(rows);
    for (int r = 0; r < rows; ++r) {
      // Rows of zeros have the largest scale there is; others differ by what gradients differ.
      scale[r] = r == 3 ? 127.0f / 1e-30f : std::exp(uniform(5.0f, 20.0f));
      input_scale[r] = uniform(1.0f, 200.0f);
    }
    for (int c = 0; c < width; ++c) row_codes[3 * static_cast<size_t>(width) + c] = 0;
    const std::vector<float> deltas = {0.037f, 1.9f};
    const uint64_t seed = random_() * 0x100000001ull ^ random_();
    const uint32_t step_value = random_(), tensor = random_();
    const DeviceArray<int8_t> device_codes(row_codes), codes(row_codes.size());
    const DeviceArray<float> device_scale(scale), device_input(input_scale), device_deltas(deltas),
        column_scale(width);
    const DeviceArray<uint32_t> step(std::vector<uint32_t>{step_value}), largest(width);
    const int end = width / 32 * 16;
    ColumnScales columns;
    if (end > 0) columns = {1, {end}, {device_deltas.get()}};
    columns.end[columns.count] = width;
    columns.scale[columns.count++] = device_deltas.get() + 1;
    check(gradient_column_maxima(device_codes.get(), device_scale.get(), device_input.get(),
                                 largest.get(), rows, width, nullptr));
    check(quantize_gradient_columns(device_codes.get(), device_scale.get(), columns,
                                    device_input.get(), largest.get(), {seed, step.get(), tensor},
                                    codes.get(), column_scale.get(), rows, width, nullptr));
    finish();
    const auto got = codes.read();
    const auto got_scale = column_scale.read();
    const auto got_largest = largest.read();
    std::vector<float> x(row_codes.size()), top(width);
    for (int r = 0; r < rows; ++r) {
      const float worth = 1.0f / (scale[r] * input_scale[r]);
      for (int c = 0; c < width; ++c) {
        const size_t at = static_cast<size_t>(r) * width + c;
        x[at] = row_codes[at] * worth;
        top[c] = std::max(top[c], std::abs(x[at]));
      }
    }
    for (int c = 0; c < width; ++c) {
      ASSERT_EQ(got_largest[c], std::bit_cast<uint32_t>(top[c])) << "column " << c;
      const float s = 127.0f / std::max(top[c], 1e-30f);
      ASSERT_EQ(got_scale[c], s * deltas[c >= end]) << "column " << c;
      for (int r = 0; r < rows; ++r) {
        const size_t at = static_cast<size_t>(r) * width + c;
        ASSERT_EQ(got[static_cast<size_t>(c) * rows + r],
                  rounded(x[at], s, noise_of(seed, step_value, tensor, at)))
            << "row " << r << " column " << c;
      }
    }
  }
}

// Whatever the two roundings draw, the maxima of the kernels that leave them are never passed: a
// code of 128 would be stored as -128.
TEST_F(QuantizeGradient, SecondRoundingNeverFlipsTheSign) {
  const int rows = 8192, width = 64;
  std::vector<float> dy(static_cast<size_t>(rows) * width);
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < width; ++c) {
      // Just above a whole code, so that it is rounded up by nearly one now and then.
      dy[static_cast<size_t>(r) * width + c] = c == 0 ? 127.0f : 1.0f + (c % 8) + 1.0f / 128;
    }
  }
  const auto bits = to_bf16_bits(dy);
  const DeviceArray<uint16_t> device_dy(bits);
  const DeviceArray<float> scale(rows), input(std::vector<float>(rows, 3.0f)), column_scale(width);
  const DeviceArray<uint32_t> step(std::vector<uint32_t>{7});
  const DeviceArray<int8_t> codes(bits.size()), transposed(bits.size());
  check(quantize_gradient_rows(as_bf16(device_dy), {}, {random_(), step.get(), 3}, codes.get(),
                               scale.get(), rows, width, nullptr));
  std::vector<uint32_t> reach(width);
  for (int c = 0; c < width; ++c) {
    const float x = from_bf16_bits(bits[c]);
    reach[c] = std::bit_cast<uint32_t>(std::fma(x, 1 / 3.0f, 127.0f * (1.001f / 127) * (1 / 3.0f)));
  }
  const DeviceArray<uint32_t> largest(reach);
  check(quantize_gradient_columns(codes.get(), scale.get(), {}, input.get(), largest.get(),
                                  {random_(), step.get(), 4}, transposed.get(), column_scale.get(),
                                  rows, width, nullptr));
  finish();
  ASSERT_EQ(scale.read()[0], 1.0f);
  for (int8_t code : transposed.read()) ASSERT_GT(code, 0);
}

// The noise of elements in one word, of words, of rows, of steps and of tensors: none tells of
// another. The error code - x * s of a value half-way between codes is +-1/2; products of two
// average to zero.
TEST_F(QuantizeGradient, ErrorsOfDifferentElementsAreUncorrelated) {
  const int rows = 8192, width = 128;
  std::vector<float> dy(static_cast<size_t>(rows) * width, 0.5f);
  for (int r = 0; r < rows; ++r) dy[static_cast<size_t>(r) * width] = 127.0f;
  const DeviceArray<uint16_t> device_dy(to_bf16_bits(dy));
  const DeviceArray<float> scale(rows);
  const uint32_t step_value = random_();
  const DeviceArray<uint32_t> step(std::vector<uint32_t>{step_value}),
      next_step(std::vector<uint32_t>{step_value + 1});
  const uint64_t seed = random_();
  const auto run = [&](const DeviceArray<uint32_t>& at, uint32_t tensor) {
    const DeviceArray<int8_t> codes(dy.size());
    check(quantize_gradient_rows(as_bf16(device_dy), {}, {seed, at.get(), tensor}, codes.get(),
                                 scale.get(), rows, width, nullptr));
    finish();
    return codes.read();
  };
  const auto codes = run(step, 0), later = run(next_step, 0), other = run(step, 1);
  const auto correlation = [&](const std::vector<int8_t>& second, int rows_on, int columns_on) {
    int64_t sum = 0, count = 0;
    for (int r = 0; r + rows_on < rows; ++r) {
      for (int c = 8; c + columns_on < width; ++c) {
        const size_t at = static_cast<size_t>(r) * width + c;
        const int a = codes[at], b = second[at + rows_on * width + columns_on];
        EXPECT_TRUE(a == 0 || a == 1);
        sum += (2 * a - 1) * (2 * b - 1);
        ++count;
      }
    }
    return static_cast<double>(sum) / count;
  };
  const double six_sigma = 6 / std::sqrt(0.9 * rows * width);
  for (int columns_on : {1, 2, 3, 4, 5, 7, 8, 16, 33, 64}) {
    EXPECT_LT(std::abs(correlation(codes, 0, columns_on)), six_sigma) << columns_on << " columns";
  }
  for (int rows_on : {1, 2, 16, 128}) {
    EXPECT_LT(std::abs(correlation(codes, rows_on, 0)), six_sigma) << rows_on << " rows";
  }
  EXPECT_LT(std::abs(correlation(later, 0, 0)), six_sigma);
  EXPECT_LT(std::abs(correlation(other, 0, 0)), six_sigma);
}

TEST_F(QuantizeGradient, EveryKeyDrawsItsOwnNoise) {
  const int rows = 64, width = 576;
  const DeviceArray<uint16_t> dy(random_gradient(rows, width));
  const DeviceArray<float> scale(rows);
  const DeviceArray<uint32_t> step(std::vector<uint32_t>{1}), other_step(std::vector<uint32_t>{2});
  const auto run = [&](Noise noise) {
    const DeviceArray<int8_t> codes(dy.size());
    check(quantize_gradient_rows(as_bf16(dy), {}, noise, codes.get(), scale.get(), rows, width,
                                 nullptr));
    finish();
    return codes.read();
  };
  const auto first = run({5, step.get(), 0});
  EXPECT_EQ(run({5, step.get(), 0}), first);
  EXPECT_NE(run({6, step.get(), 0}), first);
  EXPECT_NE(run({5ull << 32, step.get(), 0}), first);
  EXPECT_NE(run({5, other_step.get(), 0}), first);
  EXPECT_NE(run({5, step.get(), 1}), first);
}

TEST_F(QuantizeGradient, BrokenRowsShowInTheirScale) {
  const int rows = 8, width = 576;
  for (uint16_t broken : {0x7fc0 /* NaN */, 0xff80 /* -inf */}) {
    auto dy = random_gradient(rows, width);
    dy[5 * width + 333] = broken;
    const DeviceArray<uint16_t> device_dy(dy);
    const DeviceArray<float> scale(rows);
    const DeviceArray<uint32_t> step(std::vector<uint32_t>{1});
    const DeviceArray<int8_t> codes(dy.size());
    check(quantize_gradient_rows(as_bf16(device_dy), {}, {5, step.get(), 0}, codes.get(),
                                 scale.get(), rows, width, nullptr));
    finish();
    const auto s = scale.read();
    for (int r = 0; r < rows; ++r) EXPECT_EQ(std::isnan(s[r]), r == 5);
  }
}

}  // namespace
}  // namespace wf::kernels

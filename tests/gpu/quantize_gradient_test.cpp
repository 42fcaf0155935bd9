#include "kernels/quantize_gradient.h"

#include <array>
#include <cmath>

#include "device.h"

namespace wf::kernels {
namespace {

using namespace wf::testing;

// Philox4x32-7, written from the paper's definition.
std::array<uint32_t, 4> philox(std::array<uint32_t, 2> key, std::array<uint32_t, 4> c) {
  for (int round = 0; round < 7; ++round) {
    const uint64_t p0 = 0xD2511F53ull * c[0], p1 = 0xCD9E8D57ull * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(p0)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return c;
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
  EXPECT_EQ(philox({0, 0}, {0, 0, 0, 0}),
            (std::array<uint32_t, 4>{0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48}));
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
        const uint64_t v = (static_cast<uint64_t>(r) * width + c) / 8;
        const auto words =
            philox({static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
                   {static_cast<uint32_t>(v), static_cast<uint32_t>(v >> 32), tensor, step_value});
        const uint32_t k = words[c % 8 / 2] >> (16 * (c % 2)) & 0x3fff;
        const float w = (k + 0.5f) / 16384.0f - 0.5f;
        const float noisy = std::fma(from_bf16_bits(row[c]), delta(c) * s, w);
        ASSERT_EQ(got[static_cast<size_t>(r) * width + c], std::nearbyint(noisy))
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
    auto dy = random_gradient(rows, width);
    for (int r = 0; r < rows; ++r) dy[static_cast<size_t>(r) * width + 5] = 0;  // a column of zeros
    std::vector<float> input_scale(rows);
    for (auto& s : input_scale) s = uniform(1.0f, 200.0f);
    const uint64_t seed = random_() * 0x100000001ull ^ random_();
    const uint32_t step_value = random_(), tensor = random_();
    const DeviceArray<uint16_t> device_dy(dy);
    const DeviceArray<float> device_scale(input_scale), scale(width);
    const DeviceArray<uint32_t> step(std::vector<uint32_t>{step_value}), largest(width);
    const DeviceArray<int8_t> codes(dy.size());
    check(quantize_gradient_columns(as_bf16(device_dy), device_scale.get(),
                                    {seed, step.get(), tensor}, codes.get(), scale.get(),
                                    largest.get(), rows, width, nullptr));
    finish();
    const auto got = codes.read();
    const auto got_scale = scale.read();
    std::vector<float> x(dy.size()), top(width);
    for (int r = 0; r < rows; ++r) {
      const float inverse = 1.0f / input_scale[r];
      for (int c = 0; c < width; ++c) {
        const size_t at = static_cast<size_t>(r) * width + c;
        x[at] = from_bf16_bits(dy[at]) * inverse;
        top[c] = std::max(top[c], std::abs(x[at]));
      }
    }
    for (int c = 0; c < width; ++c) {
      const float s = 127.0f / std::max(top[c], 1e-30f);
      ASSERT_EQ(got_scale[c], s) << "column " << c;
      for (int r = 0; r < rows; ++r) {
        const int e = 4 * (r % 4) + c % 4;
        const uint64_t v = 2 * (static_cast<uint64_t>(r / 4) * (width / 4) + c / 4) + e / 8;
        const auto words =
            philox({static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
                   {static_cast<uint32_t>(v), static_cast<uint32_t>(v >> 32), tensor, step_value});
        const uint32_t k = words[e % 8 / 2] >> (16 * (e % 2)) & 0x3fff;
        const float w = (k + 0.5f) / 16384.0f - 0.5f;
        const float noisy = std::fma(x[static_cast<size_t>(r) * width + c], s, w);
        ASSERT_EQ(got[static_cast<size_t>(c) * rows + r], std::nearbyint(noisy))
            << "row " << r << " column " << c;
      }
    }
  }
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

#include "kernels/rms_norm_quant.h"

#include <cmath>

#include "device.h"

namespace wf::kernels {
namespace {

using namespace wf::testing;

constexpr float kEps = 1e-6f;
constexpr double kRstdUlps = 6;  // sum, mean, and the hardware's reciprocal root (2 ulp)
// One per arrangement of threads, full and ragged; the widths of the three models are among them.
const std::vector<int> kWidths = {16,   80,   576,  768,  1024, 1296, 1536, 2048, 2560,
                                  3072, 4096, 5120, 6144, 6912, 8192, 9216, 16384};

class RmsNormQuant : public Gpu {
 protected:
  // Rows of ordinary size, then one of zeros, a tiny one and a huge one; with a few outliers.
  std::vector<uint16_t> random_rows(int rows, int width) {
    std::vector<float> x(static_cast<size_t>(rows) * width);
    for (int r = 0; r < rows; ++r) {
      const float size = r == rows - 1 ? 0.0f : r == rows - 2 ? 1e-9f : r == rows - 3 ? 1e9f : 1.0f;
      for (int c = 0; c < width; ++c) {
        x[static_cast<size_t>(r) * width + c] =
            size * normal() * (random_() % 500 == 0 ? 30.0f : 1.0f);
      }
    }
    return to_bf16_bits(x);
  }

  std::vector<float> random_gain(int width) {
    std::vector<float> gain(width);
    for (auto& g : gain) g = uniform(-0.5f, 2.0f);
    return gain;
  }

  // h [rows, width]: what the kernel normalises. code_slack: how far from a tie, in codes, a code
  // may still be rounded the other way (0: exact); scale_ulps likewise.
  void check_rows(const std::vector<float>& h, const std::vector<float>& gain, int rows, int width,
                  const std::vector<int8_t>& q, const std::vector<float>& scale,
                  const std::vector<float>& rstd, double rstd_ulps, double scale_ulps,
                  double code_slack) {
    for (int r = 0; r < rows; ++r) {
      const float* row = h.data() + static_cast<size_t>(r) * width;
      double squares = 0;
      for (int c = 0; c < width; ++c) squares += static_cast<double>(row[c]) * row[c];
      const float want_rstd = 1.0 / std::sqrt(squares / width + static_cast<double>(kEps));
      ASSERT_LE(ulps(rstd[r], want_rstd), rstd_ulps) << "row " << r;

      std::vector<float> y(width);
      float largest = 0;
      for (int c = 0; c < width; ++c) {
        const float normalised = row[c] * rstd[r];
        y[c] = normalised * gain[c];
        largest = std::max(largest, std::abs(y[c]));
      }
      const float s = 127.0f / std::max(largest, 1e-5f);
      ASSERT_LE(ulps(scale[r], s), scale_ulps) << "row " << r;
      for (int c = 0; c < width; ++c) {
        const float t = y[c] * s;
        const int code = q[static_cast<size_t>(r) * width + c];
        if (code != std::nearbyint(t)) {
          ASSERT_LE(std::abs(t - code), 0.5 + code_slack) << "row " << r << " column " << c;
          ASSERT_GT(code_slack, 0) << "row " << r << " column " << c << " t " << t;
        }
      }
    }
  }
};

TEST_F(RmsNormQuant, CodesAreExactGivenRstd) {
  for (int width : kWidths) {
    SCOPED_TRACE("width " + std::to_string(width));
    for (int rows : {4, 21, width < 2048 ? 6000 : 1500}) {
      const auto x = random_rows(rows, width);
      const auto gain = random_gain(width);
      const DeviceArray<uint16_t> device_x(x);
      const DeviceArray<float> device_gain(gain), scale(rows), rstd(rows);
      const DeviceArray<int8_t> q(x.size());
      check(rms_norm_quant(as_bf16(device_x), device_gain.get(), kEps, q.get(), scale.get(),
                           rstd.get(), rows, width, nullptr));
      finish();
      std::vector<float> h(x.size());
      for (size_t i = 0; i < x.size(); ++i) h[i] = from_bf16_bits(x[i]);
      check_rows(h, gain, rows, width, q.read(), scale.read(), rstd.read(), kRstdUlps, 0, 0);
    }
  }
}

TEST_F(RmsNormQuant, ResidualIsAddedOnceAndRoundedOnce) {
  for (int width : kWidths) {
    SCOPED_TRACE("width " + std::to_string(width));
    const int rows = 13;
    const auto x = random_rows(rows, width), delta = random_rows(rows, width);
    const auto gain = random_gain(width);
    const DeviceArray<uint16_t> device_x(x), device_delta(delta), sum(x.size());
    const DeviceArray<float> device_gain(gain), scale(rows), rstd(rows);
    const DeviceArray<int8_t> q(x.size());
    check(add_rms_norm_quant(as_bf16(device_x), as_bf16(device_delta), device_gain.get(), kEps,
                             as_bf16(sum), q.get(), scale.get(), rstd.get(), rows, width, nullptr));
    finish();
    std::vector<float> h(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      h[i] = round_to_bf16(from_bf16_bits(x[i]) + from_bf16_bits(delta[i]));
    }
    EXPECT_EQ(sum.read(), to_bf16_bits(h));
    check_rows(h, gain, rows, width, q.read(), scale.read(), rstd.read(), kRstdUlps, 0, 0);

    // In place: the sum may overwrite x.
    check(add_rms_norm_quant(as_bf16(device_x), as_bf16(device_delta), device_gain.get(), kEps,
                             as_bf16(device_x), q.get(), scale.get(), rstd.get(), rows, width,
                             nullptr));
    finish();
    EXPECT_EQ(device_x.read(), sum.read());
  }
}

TEST_F(RmsNormQuant, GluWithSquaredReluIsExactGivenRstd) {
  for (int width : kWidths) {
    SCOPED_TRACE("width " + std::to_string(width));
    const int rows = 9;
    const auto gate_up = random_rows(rows, 2 * width);
    const auto gain = random_gain(width);
    const DeviceArray<uint16_t> input(gate_up);
    const DeviceArray<float> device_gain(gain), scale(rows), rstd(rows);
    const DeviceArray<int8_t> q(static_cast<size_t>(rows) * width);
    check(glu_norm_quant(as_bf16(input), GluActivation::kRelu2, device_gain.get(), kEps, q.get(),
                         scale.get(), rstd.get(), rows, width, nullptr));
    finish();
    std::vector<float> h(q.size());
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < width; ++c) {
        const float gate = from_bf16_bits(gate_up[static_cast<size_t>(r) * 2 * width + c]);
        const float up = from_bf16_bits(gate_up[(static_cast<size_t>(r) * 2 + 1) * width + c]);
        const float positive = std::max(gate, 0.0f);
        const float squared = positive * positive;
        h[static_cast<size_t>(r) * width + c] = squared * up;
      }
    }
    // h^2 of the huge row leaves fp32's range.
    check_rows(h, gain, rows - 3, width, q.read(), scale.read(), rstd.read(), kRstdUlps, 0, 0);
  }
}

TEST_F(RmsNormQuant, GluWithSiluAgreesUpToItsExponential) {
  for (int width : kWidths) {
    SCOPED_TRACE("width " + std::to_string(width));
    const int rows = 9;
    const auto gate_up = random_rows(rows, 2 * width);
    const auto gain = random_gain(width);
    const DeviceArray<uint16_t> input(gate_up);
    const DeviceArray<float> device_gain(gain), scale(rows), rstd(rows);
    const DeviceArray<int8_t> q(static_cast<size_t>(rows) * width);
    check(glu_norm_quant(as_bf16(input), GluActivation::kSilu, device_gain.get(), kEps, q.get(),
                         scale.get(), rstd.get(), rows, width, nullptr));
    finish();
    std::vector<float> h(q.size());
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < width; ++c) {
        const double gate = from_bf16_bits(gate_up[static_cast<size_t>(r) * 2 * width + c]);
        const double up = from_bf16_bits(gate_up[(static_cast<size_t>(r) * 2 + 1) * width + c]);
        h[static_cast<size_t>(r) * width + c] = gate / (1 + std::exp(-gate)) * up;
      }
    }
    check_rows(h, gain, rows - 3, width, q.read(), scale.read(), rstd.read(), 16, 64, 2e-3);
  }
}

// lambda = 0: the norm itself; 1: the codes' values; between: between.
TEST_F(RmsNormQuant, BlendsTheNormWithTheValuesOfItsCodes) {
  for (int width : kWidths) {
    if (width > 8192) continue;
    SCOPED_TRACE("width " + std::to_string(width));
    const int rows = 37;
    const auto x = random_rows(rows, width), delta = random_rows(rows, width);
    const auto gain = random_gain(width);
    const DeviceArray<uint16_t> device_x(x), device_delta(delta), sum(x.size()), want_sum(x.size());
    const DeviceArray<float> device_gain(gain), scale(rows), rstd(rows), want_rstd(rows);
    const DeviceArray<int8_t> q(x.size());
    check(add_rms_norm_quant(as_bf16(device_x), as_bf16(device_delta), device_gain.get(), kEps,
                             as_bf16(want_sum), q.get(), scale.get(), want_rstd.get(), rows, width,
                             nullptr));
    const auto codes = q.read();
    const auto s = scale.read(), r = want_rstd.read();
    const auto h = want_sum.read();
    for (float lambda : {0.0f, 0.3f, 1.0f}) {
      const DeviceArray<float> device_lambda(std::vector<float>{lambda});
      const DeviceArray<uint16_t> out(x.size());
      check(add_rms_norm_blend(as_bf16(device_x), as_bf16(device_delta), device_gain.get(), kEps,
                               device_lambda.get(), as_bf16(sum), as_bf16(out), rstd.get(), rows,
                               width, nullptr));
      EXPECT_EQ(sum.read(), want_sum.read());
      EXPECT_EQ(rstd.read(), r);
      const auto got = out.read();
      for (size_t i = 0; i < got.size(); ++i) {
        const size_t row = i / width;
        const double y = static_cast<double>(from_bf16_bits(h[i])) * r[row] * gain[i % width];
        const double want = y + lambda * (codes[i] / static_cast<double>(s[row]) - y);
        // One rounding to bf16, and fp32's before it, relative to what is added up.
        ASSERT_NEAR(from_bf16_bits(got[i]), want,
                    std::abs(want) / 256 + 1e-6 * (std::abs(y) + 1e-30))
            << "element " << i << " lambda " << lambda;
      }
    }
  }
}

TEST_F(RmsNormQuant, BrokenRowsShowInTheirScale) {
  const int rows = 3, width = 576;
  for (uint16_t broken : {0x7fc0 /* NaN */, 0x7f80 /* inf */}) {
    auto x = random_rows(rows, width);
    x[width + 100] = broken;
    const DeviceArray<uint16_t> device_x(x);
    const DeviceArray<float> gain(random_gain(width)), scale(rows), rstd(rows);
    const DeviceArray<int8_t> q(x.size());
    check(rms_norm_quant(as_bf16(device_x), gain.get(), kEps, q.get(), scale.get(), rstd.get(),
                         rows, width, nullptr));
    finish();
    const auto s = scale.read();
    EXPECT_FALSE(std::isnan(s[0]));
    EXPECT_TRUE(std::isnan(s[1]));
    EXPECT_FALSE(std::isnan(s[2]));
  }
}

TEST_F(RmsNormQuant, RefusesWidthsItCannotHold) {
  for (int width : {0, 8, 24, 16400}) {
    EXPECT_EQ(rms_norm_quant(nullptr, nullptr, kEps, nullptr, nullptr, nullptr, 1, width, nullptr),
              cudaErrorInvalidValue);
  }
}

}  // namespace
}  // namespace wf::kernels

#include "kernels/rms_norm_backward.h"

#include <cmath>

#include "device.h"
#include "gradient_codes.h"

namespace wf::kernels {
namespace {

using namespace wf::testing;

const std::vector<int> kWidths = {16,   80,   576,  1024, 1296, 1536, 2048,
                                  2560, 3072, 4096, 5120, 6144, 6912, 8192};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

class RmsNormBackward : public Gpu {
 protected:
  std::vector<uint16_t> random_rows(int rows, int width, float size = 1) {
    std::vector<float> x(static_cast<size_t>(rows) * width);
    for (auto& v : x) v = size * normal();
    return to_bf16_bits(x);
  }

  std::vector<float> random_values(int size, float low, float high) {
    std::vector<float> values(size);
    for (auto& v : values) v = uniform(low, high);
    return values;
  }

  // dh by the formula, in fp64; adds to dgain and to the magnitudes its terms had.
  std::vector<double> reference(const uint16_t* dy, const std::vector<double>& h, float rstd,
                                const std::vector<float>& gain, std::vector<double>& dgain,
                                std::vector<double>& magnitude) {
    const size_t width = h.size();
    std::vector<double> dh(width);
    double c = 0;
    for (size_t i = 0; i < width; ++i) c += from_bf16_bits(dy[i]) * gain[i] * (h[i] * rstd);
    c /= width;
    for (size_t i = 0; i < width; ++i) {
      const double d = from_bf16_bits(dy[i]), n = h[i] * rstd;
      dh[i] = rstd * (d * gain[i] - n * c);
      dgain[i] += d * n;
      magnitude[i] += std::abs(d * n);
    }
    return dh;
  }

  // A bf16 result: half an ulp of its own, and fp32's errors relative to the row's largest term.
  void expect_close(uint16_t got, double want, double scale, const char* what, int row,
                    int column) {
    const double error = std::abs(from_bf16_bits(got) - want);
    ASSERT_LE(error, std::abs(want) * 0x1p-8 + scale * 1e-5)
        << what << " row " << row << " column " << column << " want " << want;
  }

  // Up to a rounding of bf16, and of fp32 where terms cancel.
  void expect_same(const std::vector<uint16_t>& got, const std::vector<uint16_t>& want) {
    for (size_t i = 0; i < got.size(); ++i) {
      const float a = from_bf16_bits(got[i]), b = from_bf16_bits(want[i]);
      ASSERT_LE(std::abs(a - b), std::abs(b) * 0x1p-7 + 2e-6) << i;
    }
  }
  void expect_near(const std::vector<float>& got, const std::vector<float>& want) {
    float size = 0;
    for (float w : want) size = std::max(size, std::abs(w));
    for (size_t i = 0; i < got.size(); ++i) ASSERT_LE(std::abs(got[i] - want[i]), 1e-5 * size) << i;
  }

  void expect_sums(const std::vector<float>& got, const std::vector<double>& want,
                   const std::vector<double>& magnitude) {
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_LE(std::abs(got[i] - want[i]), 1e-5 * magnitude[i] + 1e-30) << "dgain " << i;
    }
  }
};

TEST_F(RmsNormBackward, GradientsFollowTheClosedForm) {
  for (int width : kWidths) {
    for (bool with_residual : {false, true}) {
      SCOPED_TRACE("width " + std::to_string(width) + (with_residual ? " residual" : ""));
      const int rows = with_residual ? 37 : 1203;
      const auto dy = random_rows(rows, width, 1e-3f), h = random_rows(rows, width);
      const auto residual = random_rows(rows, width, 1e-3f);
      const auto gain = random_values(width, -0.5f, 2.0f), rstd = random_values(rows, 0.5f, 2.0f);
      const auto before = random_values(width, -1.0f, 1.0f);
      const DeviceArray<uint16_t> device_dy(dy), device_h(h), device_residual(residual);
      const DeviceArray<float> device_gain(gain), device_rstd(rstd), fresh(width), grown(before);
      const DeviceArray<uint8_t> workspace(rms_norm_backward_workspace_bytes());
      const DeviceArray<uint16_t> dx(dy.size());
      const DeviceArray<float>& dgain = with_residual ? grown : fresh;
      check(rms_norm_backward(as_bf16(device_dy), as_bf16(device_h), device_rstd.get(),
                              device_gain.get(), with_residual ? as_bf16(device_residual) : nullptr,
                              as_bf16(dx), dgain.get(), with_residual, workspace.get(), rows, width,
                              {}, nullptr));
      finish();
      const auto got = dx.read();
      std::vector<double> want_dgain(width), magnitude(width);
      for (int r = 0; r < rows; ++r) {
        const size_t at = static_cast<size_t>(r) * width;
        std::vector<double> row(width);
        for (int c = 0; c < width; ++c) row[c] = from_bf16_bits(h[at + c]);
        auto dh = reference(dy.data() + at, row, rstd[r], gain, want_dgain, magnitude);
        double scale = 0;
        for (double v : dh) scale = std::max(scale, std::abs(v));
        for (int c = 0; c < width; ++c) {
          if (with_residual) dh[c] += from_bf16_bits(residual[at + c]);
          expect_close(got[at + c], dh[c], scale, "dx", r, c);
        }
      }
      if (with_residual) {
        for (int c = 0; c < width; ++c) {
          want_dgain[c] += before[c];
          magnitude[c] += std::abs(before[c]);
        }
      }
      expect_sums(dgain.read(), want_dgain, magnitude);

      // In place, and the same bits once more.
      const auto first_dgain = fresh.read();
      check(rms_norm_backward(as_bf16(device_dy), as_bf16(device_h), device_rstd.get(),
                              device_gain.get(), with_residual ? as_bf16(device_residual) : nullptr,
                              as_bf16(device_dy), fresh.get(), false, workspace.get(), rows, width,
                              {}, nullptr));
      finish();
      EXPECT_EQ(device_dy.read(), got);
      if (!with_residual) {
        EXPECT_EQ(fresh.read(), first_dgain);
      }
    }
  }
}

TEST_F(RmsNormBackward, GluGradientsFollowTheClosedForm) {
  for (int width : kWidths) {
    for (auto activation : {GluActivation::kSilu, GluActivation::kRelu2}) {
      const bool silu = activation == GluActivation::kSilu;
      SCOPED_TRACE("width " + std::to_string(width) + (silu ? " silu" : " relu2"));
      const int rows = 531;
      const auto dy = random_rows(rows, width, 1e-3f), gate_up = random_rows(rows, 2 * width);
      const auto gain = random_values(width, -0.5f, 2.0f), rstd = random_values(rows, 0.5f, 2.0f);
      const DeviceArray<uint16_t> device_dy(dy), input(gate_up), output(gate_up.size());
      const DeviceArray<float> device_gain(gain), device_rstd(rstd), dgain(width);
      const DeviceArray<uint8_t> workspace(rms_norm_backward_workspace_bytes());
      check(glu_norm_backward(as_bf16(device_dy), as_bf16(input), activation, device_rstd.get(),
                              device_gain.get(), as_bf16(output), dgain.get(), false,
                              workspace.get(), rows, width, {}, nullptr));
      finish();
      const auto got = output.read();
      std::vector<double> want_dgain(width), magnitude(width);
      for (int r = 0; r < rows; ++r) {
        const size_t at = static_cast<size_t>(r) * 2 * width;
        std::vector<double> h(width), value(width), derivative(width);
        for (int c = 0; c < width; ++c) {
          const double gate = from_bf16_bits(gate_up[at + c]);
          const double s = sigmoid(gate), positive = std::max(gate, 0.0);
          value[c] = silu ? gate * s : positive * positive;
          derivative[c] = silu ? s * (1 + gate * (1 - s)) : 2 * positive;
          h[c] = value[c] * from_bf16_bits(gate_up[at + width + c]);
        }
        const auto dh = reference(dy.data() + at / 2, h, rstd[r], gain, want_dgain, magnitude);
        double scale = 0;
        for (double v : dh)
          scale = std::max(scale, 10 * std::abs(v));  // times up, times derivative
        for (int c = 0; c < width; ++c) {
          const double up = from_bf16_bits(gate_up[at + width + c]);
          expect_close(got[at + c], dh[c] * up * derivative[c], scale, "dgate", r, c);
          expect_close(got[at + width + c], dh[c] * value[c], scale, "dup", r, c);
        }
      }
      expect_sums(dgain.read(), want_dgain, magnitude);
    }
  }
}

// The codes are exactly those of the gradient that was written, and writing them does not change it
// (the compiler may contract differently, hence the tolerance).
TEST_F(RmsNormBackward, LeavesTheCodesOfWhatItWrites) {
  for (int width : kWidths) {
    for (bool with_columns : {true, false}) {
      SCOPED_TRACE("width " + std::to_string(width));
      const int rows = with_columns ? 1203 : 21;
      const auto dy = random_rows(rows, width, 1e-3f), h = random_rows(rows, width);
      const auto residual = random_rows(rows, width, 1e-3f);
      const auto gain = random_values(width, -0.5f, 2.0f), rstd = random_values(rows, 0.5f, 2.0f);
      const DeviceArray<uint16_t> device_dy(dy), device_h(h), device_residual(residual),
          plain(dy.size()), dx(dy.size());
      const DeviceArray<float> device_gain(gain), device_rstd(rstd), plain_dgain(width),
          dgain(width);
      const DeviceArray<uint8_t> workspace(rms_norm_backward_workspace_bytes());
      const CodesOfGradient codes(random_, rows, width, {width});
      check(rms_norm_backward(as_bf16(device_dy), as_bf16(device_h), device_rstd.get(),
                              device_gain.get(), as_bf16(device_residual), as_bf16(plain),
                              plain_dgain.get(), false, workspace.get(), rows, width, {}, nullptr));
      check(rms_norm_backward(as_bf16(device_dy), as_bf16(device_h), device_rstd.get(),
                              device_gain.get(), as_bf16(device_residual), as_bf16(dx), dgain.get(),
                              false, workspace.get(), rows, width, codes.wanted(with_columns),
                              nullptr));
      finish();
      codes.expect_those_of(dx, with_columns);
      expect_same(dx.read(), plain.read());
      expect_near(dgain.read(), plain_dgain.read());
    }
  }
}

TEST_F(RmsNormBackward, GluLeavesTheCodesOfWhatItWrites) {
  for (int width : kWidths) {
    for (auto activation : {GluActivation::kSilu, GluActivation::kRelu2}) {
      SCOPED_TRACE("width " + std::to_string(width));
      const int rows = 531;
      const auto dy = random_rows(rows, width, 1e-3f), gate_up = random_rows(rows, 2 * width);
      const auto gain = random_values(width, -0.5f, 2.0f), rstd = random_values(rows, 0.5f, 2.0f);
      const DeviceArray<uint16_t> device_dy(dy), input(gate_up), plain(gate_up.size()),
          output(gate_up.size());
      const DeviceArray<float> device_gain(gain), device_rstd(rstd), plain_dgain(width),
          dgain(width);
      const DeviceArray<uint8_t> workspace(rms_norm_backward_workspace_bytes());
      const CodesOfGradient codes(random_, rows, 2 * width, {width, 2 * width});
      check(glu_norm_backward(as_bf16(device_dy), as_bf16(input), activation, device_rstd.get(),
                              device_gain.get(), as_bf16(plain), plain_dgain.get(), false,
                              workspace.get(), rows, width, {}, nullptr));
      check(glu_norm_backward(as_bf16(device_dy), as_bf16(input), activation, device_rstd.get(),
                              device_gain.get(), as_bf16(output), dgain.get(), false,
                              workspace.get(), rows, width, codes.wanted(true), nullptr));
      finish();
      codes.expect_those_of(output, true);
      const CodesOfGradient alone(random_, rows, 2 * width, {width, 2 * width});
      check(glu_norm_backward(as_bf16(device_dy), as_bf16(input), activation, device_rstd.get(),
                              device_gain.get(), nullptr, dgain.get(), false, workspace.get(), rows,
                              width, alone.wanted(true), nullptr));
      finish();
      alone.expect_those_of(output, true);
      expect_same(output.read(), plain.read());
      expect_near(dgain.read(), plain_dgain.read());
    }
  }
}

TEST_F(RmsNormBackward, RefusesWidthsItCannotHold) {
  for (int width : {0, 24, 8208}) {
    EXPECT_EQ(rms_norm_backward(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                                false, nullptr, 1, width, {}, nullptr),
              cudaErrorInvalidValue);
  }
}

}  // namespace
}  // namespace wf::kernels

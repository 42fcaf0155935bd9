#include "kernels/requantize_transposed.h"

#include "device.h"

namespace wf::kernels {
namespace {

using namespace wf::testing;

constexpr float kEps = 1e-6f;

class RequantizeTransposed : public Gpu {
 protected:
  std::vector<uint16_t> random_rows(int rows, int width) {  // with a row of zeros and a tiny one
    std::vector<float> x(static_cast<size_t>(rows) * width);
    for (int r = 0; r < rows; ++r) {
      const float size = r == rows - 1 ? 0.0f : r == rows - 2 ? 1e-9f : 1.0f;
      for (int c = 0; c < width; ++c) x[static_cast<size_t>(r) * width + c] = size * normal();
    }
    return to_bf16_bits(x);
  }

  std::vector<float> random_gain(int width) {
    std::vector<float> gain(width);
    for (auto& g : gain) g = uniform(-0.5f, 2.0f);
    return gain;
  }

  void expect_transposed(const std::vector<int8_t>& q, const std::vector<int8_t>& qt, int rows,
                         int width) {
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < width; ++c) {
        ASSERT_EQ(qt[static_cast<size_t>(c) * rows + r], q[static_cast<size_t>(r) * width + c])
            << "row " << r << " column " << c;
      }
    }
  }

  const std::vector<std::pair<int, int>> shapes_ = {{16, 16},    {128, 64},   {80, 208},
                                                    {1040, 576}, {144, 2560}, {272, 6912}};
};

TEST_F(RequantizeTransposed, CodesAreTheForwards) {
  for (auto [rows, width] : shapes_) {
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(width));
    const DeviceArray<uint16_t> h(random_rows(rows, width));
    const DeviceArray<float> gain(random_gain(width)), scale(rows), rstd(rows);
    const DeviceArray<int8_t> q(h.size()), qt(h.size());
    check(rms_norm_quant(as_bf16(h), gain.get(), kEps, q.get(), scale.get(), rstd.get(), rows,
                         width, nullptr));
    check(requantize_transposed(as_bf16(h), rstd.get(), gain.get(), scale.get(), qt.get(), rows,
                                width, nullptr));
    finish();
    expect_transposed(q.read(), qt.read(), rows, width);
  }
}

TEST_F(RequantizeTransposed, GluCodesAreTheForwards) {
  for (auto [rows, width] : shapes_) {
    for (auto activation : {GluActivation::kSilu, GluActivation::kRelu2}) {
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(width));
      const DeviceArray<uint16_t> gate_up(random_rows(rows, 2 * width));
      const DeviceArray<float> gain(random_gain(width)), scale(rows), rstd(rows);
      const DeviceArray<int8_t> q(gate_up.size() / 2), qt(q.size());
      check(glu_norm_quant(as_bf16(gate_up), activation, gain.get(), kEps, q.get(), scale.get(),
                           rstd.get(), rows, width, nullptr));
      check(glu_requantize_transposed(as_bf16(gate_up), activation, rstd.get(), gain.get(),
                                      scale.get(), qt.get(), rows, width, nullptr));
      finish();
      expect_transposed(q.read(), qt.read(), rows, width);
    }
  }
}

TEST_F(RequantizeTransposed, RefusesShapesOffTheGrid) {
  for (auto [rows, width] : {std::pair{24, 16}, {16, 24}, {0, 16}}) {
    EXPECT_EQ(
        requantize_transposed(nullptr, nullptr, nullptr, nullptr, nullptr, rows, width, nullptr),
        cudaErrorInvalidValue);
  }
}

}  // namespace
}  // namespace wf::kernels

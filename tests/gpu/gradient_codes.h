// Holds the codes that a kernel leaves with the gradient it writes against those made of that
// gradient afterwards.
#pragma once

#include <cmath>

#include "device.h"
#include "kernels/quantize_gradient.h"

namespace wf::testing {

class CodesOfGradient {
 public:
  // segment_ends: of the columns' deltas, up to width.
  CodesOfGradient(std::mt19937& random, int rows, int width, const std::vector<int>& segment_ends)
      : rows_(rows),
        width_(width),
        seed_(random() * 0x100000001ull ^ random()),
        tensor_(random() % 500),
        step_(std::vector<uint32_t>{static_cast<uint32_t>(random())}),
        deltas_(values(random, segment_ends.size(), 0.02f, 2.0f)),
        input_(values(random, rows, 1.0f, 200.0f)),
        input_scale_(input_),
        largest_(width),
        workspace_(kernels::gradient_codes_workspace_bytes()),
        codes_(static_cast<size_t>(rows) * width),
        scale_(rows) {
    for (int end : segment_ends) {
      columns_.end[columns_.count] = end;
      columns_.scale[columns_.count] = deltas_.get() + columns_.count;
      ++columns_.count;
    }
  }

  kernels::GradientCodes wanted(bool with_columns) const {
    return {columns_,
            noise(),
            codes_.get(),
            scale_.get(),
            with_columns ? input_scale_.get() : nullptr,
            with_columns ? largest_.get() : nullptr,
            with_columns ? workspace_.get() : nullptr};
  }

  // dy as the kernel wrote it.
  void expect_those_of(const DeviceArray<uint16_t>& dy, bool with_columns) const {
    const DeviceArray<int8_t> codes(codes_.size());
    const DeviceArray<float> scale(rows_);
    check(kernels::quantize_gradient_rows(as_bf16(dy), columns_, noise(), codes.get(), scale.get(),
                                          rows_, width_, nullptr));
    finish();
    EXPECT_EQ(scale_.read(), scale.read());
    EXPECT_EQ(codes_.read(), codes.read());
    const auto bits = dy.read();
    std::vector<uint32_t> top(width_);
    const auto deltas = deltas_.read();
    for (int r = 0; with_columns && r < rows_; ++r) {
      const auto each = [&](auto use) {
        for (int c = 0, segment = 0; c < width_; ++c) {
          if (c >= columns_.end[segment]) ++segment;
          use(c, std::abs(from_bf16_bits(bits[static_cast<size_t>(r) * width_ + c])),
              deltas[segment]);
        }
      };
      float row = 1e-30f;
      each([&](int, float x, float delta) { row = std::max(row, x * delta); });
      const float inverse = 1.0f / input_[r], step = row * (1.001f / 127) * inverse;
      each([&](int c, float x, float delta) {
        const float reach = std::fma(x, delta * inverse, step);
        top[c] = std::max(top[c], std::bit_cast<uint32_t>(reach));
      });
    }
    if (with_columns) {
      EXPECT_EQ(largest_.read(), top);
    }
  }

 private:
  static std::vector<float> values(std::mt19937& random, size_t count, float low, float high) {
    std::vector<float> v(count);
    for (auto& x : v) x = std::uniform_real_distribution<float>(low, high)(random);
    return v;
  }
  kernels::Noise noise() const { return {seed_, step_.get(), tensor_}; }

  int rows_, width_;
  uint64_t seed_;
  uint32_t tensor_;
  DeviceArray<uint32_t> step_;
  DeviceArray<float> deltas_;
  std::vector<float> input_;
  DeviceArray<float> input_scale_;
  DeviceArray<uint32_t> largest_;
  DeviceArray<uint8_t> workspace_;
  DeviceArray<int8_t> codes_;
  DeviceArray<float> scale_;
  kernels::ColumnScales columns_;
};

}  // namespace wf::testing

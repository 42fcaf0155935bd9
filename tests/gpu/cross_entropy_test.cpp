#include "kernels/cross_entropy.h"

#include <cmath>

#include "device.h"

namespace wf::kernels {
namespace {

using namespace wf::testing;

class CrossEntropy : public Gpu {};

TEST_F(CrossEntropy, LossAndGradientFollowTheClosedForm) {
  struct Shape {
    int rows, vocab, pitch;
  };
  for (Shape s : {Shape{5, 8, 8},
                  {7, 40, 64},
                  {33, 4096, 4096},
                  {20, 5000, 5120},
                  {12, 49152, 49152},
                  {6, 128256, 128256},
                  {6, 151936, 151936}}) {
    SCOPED_TRACE(std::to_string(s.rows) + " x " + std::to_string(s.vocab));
    std::vector<float> z(static_cast<size_t>(s.rows) * s.pitch);
    std::vector<int64_t> labels(s.rows);
    for (int r = 0; r < s.rows; ++r) {
      const float size = r == 1 ? 0.0f : r == 2 ? 100.0f : 3.0f;  // flat, and sharp
      for (int c = 0; c < s.pitch; ++c) {
        z[static_cast<size_t>(r) * s.pitch + c] = c < s.vocab ? size * normal() : 1e4f;
      }
      labels[r] = r == 3 ? kIgnoredLabel : static_cast<int64_t>(random_() % s.vocab);
    }
    const auto bits = to_bf16_bits(z);
    const float scale = 0.0123f;
    const DeviceArray<uint16_t> logits(bits);
    const DeviceArray<int64_t> device_labels(labels);
    const DeviceArray<float> device_scale(std::vector<float>{scale}), loss(s.rows);
    check(cross_entropy(as_bf16(logits), device_labels.get(), device_scale.get(), loss.get(),
                        s.rows, s.vocab, s.pitch, nullptr));
    finish();
    const auto got = logits.read();
    const auto got_loss = loss.read();
    for (int r = 0; r < s.rows; ++r) {
      const size_t at = static_cast<size_t>(r) * s.pitch;
      if (labels[r] == kIgnoredLabel) {
        ASSERT_EQ(got_loss[r], 0);
        for (int c = 0; c < s.pitch; ++c) ASSERT_EQ(got[at + c], 0) << "column " << c;
        continue;
      }
      double largest = -1e300, sum = 0;
      for (int c = 0; c < s.vocab; ++c) {
        largest = std::max(largest, static_cast<double>(from_bf16_bits(bits[at + c])));
      }
      for (int c = 0; c < s.vocab; ++c) sum += std::exp(from_bf16_bits(bits[at + c]) - largest);
      const double log_sum = largest + std::log(sum);
      const double want = log_sum - from_bf16_bits(bits[at + labels[r]]);
      // fp32 differences of numbers as large as the largest logit
      ASSERT_NEAR(got_loss[r], want, 1e-6 * (std::abs(want) + std::abs(largest) + 1))
          << "row " << r;
      for (int c = 0; c < s.pitch; ++c) {
        double gradient = 0;
        if (c < s.vocab) {
          gradient = std::exp(from_bf16_bits(bits[at + c]) - log_sum) - (c == labels[r]);
        }
        const double error = std::abs(from_bf16_bits(got[at + c]) - gradient * scale);
        // half a bf16 ulp; and near a certain label the 1 cancels
        ASSERT_LE(error,
                  std::abs(gradient) * scale * 0x1p-8 + scale * (c == labels[r] ? 2e-4 : 1e-9))
            << "row " << r << " column " << c;
      }
    }
  }
}

TEST_F(CrossEntropy, RefusesVocabulariesOffTheGrid) {
  EXPECT_EQ(cross_entropy(nullptr, nullptr, nullptr, nullptr, 1, 12, 16, nullptr),
            cudaErrorInvalidValue);
  EXPECT_EQ(cross_entropy(nullptr, nullptr, nullptr, nullptr, 1, 32, 16, nullptr),
            cudaErrorInvalidValue);
}

}  // namespace
}  // namespace wf::kernels

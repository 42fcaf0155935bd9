#include "kernels/adamw.h"

#include <cmath>
#include <limits>
#include <memory>

#include "device.h"

namespace wf::kernels {
namespace {

using namespace wf::testing;

class AdamW : public Gpu {
 protected:
  struct Tensor {
    std::vector<float> w, m, v, g;
    float lr_factor, weight_decay;
    std::unique_ptr<DeviceArray<float>> device_w, device_m, device_v, device_g;
    std::unique_ptr<DeviceArray<double>> sums;
  };

  void make(const std::vector<int>& sizes) {
    for (int size : sizes) {
      Tensor t;
      for (auto* values : {&t.w, &t.m, &t.v, &t.g}) values->resize(size);
      for (auto& x : t.w) x = 0.05f * normal();
      for (auto& x : t.m) x = 1e-3f * normal();
      for (auto& x : t.v) x = 1e-6f * std::abs(normal());
      for (auto& x : t.g) x = 1e-3f * normal();
      t.g[0] = t.v[0] = t.m[0] = 0;  // nothing to do but decay
      t.lr_factor = uniform(0.1f, 2.0f);
      t.weight_decay = tensors_.size() % 2 ? 0.1f : 0.0f;
      t.device_w = std::make_unique<DeviceArray<float>>(t.w);
      t.device_m = std::make_unique<DeviceArray<float>>(t.m);
      t.device_v = std::make_unique<DeviceArray<float>>(t.v);
      t.device_g = std::make_unique<DeviceArray<float>>(t.g);
      t.sums = std::make_unique<DeviceArray<double>>((size + kSumChunk - 1) / kSumChunk);
      list_.push_back({t.device_w->get(), t.device_m->get(), t.device_v->get(), t.device_g->get(),
                       tensors_.size() == 2 ? nullptr : t.sums->get(), size, t.lr_factor,
                       t.weight_decay, 0});
      tensors_.push_back(std::move(t));
    }
  }

  void run(AdamWStep step) {
    const int count = static_cast<int>(list_.size());
    const int chunks = plan_adamw(list_.data(), count);
    ASSERT_GT(chunks, 0);
    const DeviceArray<AdamWTensor> device_list(list_);
    const DeviceArray<AdamWStep> device_step(std::vector<AdamWStep>{step});
    check(adamw(device_list.get(), count, chunks, device_step.get(), kBeta1, kBeta2, kEpsilon,
                nullptr));
    finish();
  }

  static constexpr float kBeta1 = 0.9f, kBeta2 = 0.95f, kEpsilon = 1e-8f;
  std::vector<Tensor> tensors_;
  std::vector<AdamWTensor> list_;
};

TEST_F(AdamW, EveryTensorIsUpdatedExactly) {
  make({4, 576, 4096, 4100, 331776, 98304});
  const float lr = 3e-3f, bias1 = 0.271f, root_bias2 = 0.377f, scale = 0.37f;
  run({lr, bias1, root_bias2, scale});
  for (size_t i = 0; i < tensors_.size(); ++i) {
    SCOPED_TRACE("tensor " + std::to_string(i));
    const Tensor& t = tensors_[i];
    const auto w = t.device_w->read(), m = t.device_m->read(), v = t.device_v->read();
    const float own_lr = lr * t.lr_factor, rate = own_lr / bias1;
    const float decay = own_lr * t.weight_decay;
    const float keep = 1.0f - decay, new1 = 1.0f - kBeta1, new2 = 1.0f - kBeta2;
    std::vector<double> sums(t.sums->size());
    for (size_t j = 0; j < w.size(); ++j) {
      const float g = t.g[j] * scale, new1_g = new1 * g, new2_g = new2 * g, new2_g2 = new2_g * g;
      const float want_m = std::fma(kBeta1, t.m[j], new1_g);
      const float want_v = std::fma(kBeta2, t.v[j], new2_g2);
      const float root = std::sqrt(want_v), quotient = root / root_bias2;
      const float denominator = quotient + kEpsilon, kept = t.w[j] * keep;
      const float want_w = std::fma(-rate, want_m / denominator, kept);
      ASSERT_EQ(m[j], want_m) << j;
      ASSERT_EQ(v[j], want_v) << j;
      ASSERT_EQ(w[j], want_w) << j;
      sums[j / kSumChunk] += std::abs(static_cast<double>(want_w));
    }
    const auto got = t.sums->read();
    for (size_t c = 0; c < sums.size(); ++c) {
      if (i == 2) {
        EXPECT_TRUE(std::isnan(got[c])) << "sums that were not asked for";
      } else {
        EXPECT_NEAR(got[c], sums[c], 1e-12 * sums[c]) << "chunk " << c;
      }
    }
  }
}

TEST_F(AdamW, FollowsTheTextbookInDoublePrecision) {
  make({4096});
  run({1e-3f, 1 - 0.9f * 0.9f, std::sqrt(1 - 0.95f * 0.95f), 1.0f});
  const Tensor& t = tensors_[0];
  const auto w = t.device_w->read();
  for (size_t j = 0; j < w.size(); ++j) {
    const double m = 0.9 * t.m[j] + 0.1 * t.g[j], v = 0.95 * t.v[j] + 0.05 * t.g[j] * t.g[j];
    const double step = 1e-3 * t.lr_factor * (m / 0.19) / (std::sqrt(v / (1 - 0.95 * 0.95)) + 1e-8);
    ASSERT_NEAR(w[j], t.w[j] - step, 1e-5 * std::abs(step) + 1e-8) << j;
  }
}

TEST_F(AdamW, NonFiniteGradientNormChangesNothing) {
  make({576, 8192});
  run({1e-3f, 0.1f, 0.2f, std::numeric_limits<float>::quiet_NaN()});
  run({1e-3f, 0.1f, 0.2f, std::numeric_limits<float>::infinity()});
  for (const Tensor& t : tensors_) {
    EXPECT_EQ(t.device_w->read(), t.w);
    EXPECT_EQ(t.device_m->read(), t.m);
    EXPECT_EQ(t.device_v->read(), t.v);
  }
}

}  // namespace
}  // namespace wf::kernels

#include "kernels/qkv_rope.h"

#include <cmath>
#include <memory>

#include "device.h"
#include "gradient_codes.h"

namespace wf::kernels {
namespace {

using namespace wf::testing;

constexpr float kEps = 1e-6f;

struct Case {
  int batch, sequence, heads, kv_heads, head_dim;
};

// The three models' shapes, then every number of lanes, head dims between powers of two, one head,
// rows longer than a block of 256 threads holds.
const std::vector<Case> kCases = {{2, 67, 9, 3, 64},   {3, 41, 16, 8, 128}, {1, 150, 20, 5, 128},
                                  {1, 33, 1, 1, 32},   {2, 19, 3, 1, 48},   {1, 700, 4, 2, 80},
                                  {2, 9, 7, 7, 96},    {1, 31, 6, 2, 256},  {1, 5, 32, 8, 256},
                                  {1, 2, 96, 16, 128}, {1, 3, 30, 1, 112}};

class QkvRope : public Gpu {
 protected:
  static constexpr int kPositions = 300;

  void set(const Case& c) {
    tokens = c.batch * c.sequence;
    shape = {c.sequence, c.heads, c.kv_heads, c.head_dim};
    half = c.head_dim / 2;
    rotated = c.heads + c.kv_heads;
    width = (rotated + c.kv_heads) * c.head_dim;
    cos.resize(static_cast<size_t>(kPositions) * half);
    sin.resize(cos.size());
    for (int p = 0; p < kPositions; ++p) {
      for (int i = 0; i < half; ++i) {
        const double angle = p * std::pow(10000.0, -static_cast<double>(i) / half);
        cos[static_cast<size_t>(p) * half + i] = static_cast<float>(std::cos(angle));
        sin[static_cast<size_t>(p) * half + i] = static_cast<float>(std::sin(angle));
      }
    }
    positions.resize(tokens);
    for (auto& p : positions) p = random_() % kPositions;  // in no order, as packed documents
  }

  std::vector<uint16_t> random_bits(size_t size, float scale = 1) {
    std::vector<float> x(size);
    for (auto& v : x) v = scale * normal();
    return to_bf16_bits(x);
  }

  std::vector<float> random_gain() {
    std::vector<float> gain(shape.head_dim);
    for (auto& g : gain) g = uniform(-0.5f, 2.0f);
    return gain;
  }

  // Component i of a head rotated in fp32; turn: 1, or -1 backward.
  template <class Head>
  float rotated_component(const Head& x, int token, int i, float turn) const {
    const size_t at = positions[token] * half + i % half;
    const float c = cos[at], s = turn * sin[at];
    return i < half ? std::fma(-x(i + half), s, x(i) * c) : std::fma(x(i - half), s, x(i) * c);
  }

  size_t at(int token, int head) const {
    return static_cast<size_t>(token) * width + static_cast<size_t>(head) * shape.head_dim;
  }

  // A gradient as attention may leave it: [batch, heads, sequence, head_dim] with gaps, or part of
  // a wider tensor.
  struct Gradient {
    std::vector<uint16_t> bits;
    HeadsView view;  // data to be set
    uint16_t value(int batch, int place, int head, int i) const {
      return bits[batch * view.batch_stride + place * view.token_stride + head * view.head_stride +
                  i];
    }
  };
  Gradient random_gradient(int batch, int heads, bool heads_outside) {
    const int64_t hd = shape.head_dim, pad = 8 * (random_() % 3);
    HeadsView view = {};
    int64_t size;
    if (heads_outside) {
      view.token_stride = hd + pad;
      view.head_stride = view.token_stride * shape.sequence + pad;
      view.batch_stride = view.head_stride * heads + pad;
    } else {
      view.head_stride = hd + pad;
      view.token_stride = view.head_stride * heads + pad;
      view.batch_stride = view.token_stride * shape.sequence + pad;
    }
    size = view.batch_stride * batch;
    return {random_bits(size, 1e-3f), view};
  }

  std::unique_ptr<CodesOfGradient> codes_of_fused_gradient() {
    const int hd = shape.head_dim;
    const std::vector<int> ends = {shape.heads * hd, rotated * hd, width};
    return std::make_unique<CodesOfGradient>(random_, tokens, width, ends);
  }

  static std::vector<std::pair<Case, bool>> with_and_without_codes() {
    std::vector<std::pair<Case, bool>> cases;
    for (const Case& c : kCases) {
      cases.push_back({c, false});
      cases.push_back({c, true});
    }
    return cases;
  }

  int tokens, half, rotated, width;
  QkvShape shape;
  std::vector<float> cos, sin;
  std::vector<int64_t> positions;
};

TEST_F(QkvRope, RotatesQueriesAndKeysInPlaceExactly) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(::testing::Message() << c.heads << " heads of " << c.head_dim);
    set(c);
    const auto qkv = random_bits(static_cast<size_t>(tokens) * width);
    const DeviceArray<uint16_t> x(qkv);
    const DeviceArray<float> device_cos(cos), device_sin(sin);
    const DeviceArray<int64_t> device_positions(positions);
    check(qkv_rope(as_bf16(x), device_positions.get(), device_cos.get(), device_sin.get(), tokens,
                   shape, nullptr));
    finish();
    const auto got = x.read();
    for (int t = 0; t < tokens; ++t) {
      for (int h = 0; h < rotated + c.kv_heads; ++h) {
        const auto head = [&](int i) { return from_bf16_bits(qkv[at(t, h) + i]); };
        for (int i = 0; i < c.head_dim; ++i) {
          const uint16_t want =
              h < rotated ? bf16_bits(rotated_component(head, t, i, 1)) : qkv[at(t, h) + i];
          ASSERT_EQ(got[at(t, h) + i], want) << "token " << t << " head " << h << " at " << i;
        }
      }
    }
  }
}

TEST_F(QkvRope, BackwardRotatesStridedGradientsBackExactly) {
  for (const Case& c : kCases) {
    for (bool heads_outside : {false, true}) {
      SCOPED_TRACE(::testing::Message() << c.heads << " heads of " << c.head_dim);
      set(c);
      Gradient dq = random_gradient(c.batch, c.heads, heads_outside);
      Gradient dk = random_gradient(c.batch, c.kv_heads, heads_outside);
      Gradient dv = random_gradient(c.batch, c.kv_heads, !heads_outside);
      const DeviceArray<uint16_t> q(dq.bits), k(dk.bits), v(dv.bits);
      dq.view.data = as_bf16(q), dk.view.data = as_bf16(k), dv.view.data = as_bf16(v);
      const DeviceArray<float> device_cos(cos), device_sin(sin);
      const DeviceArray<int64_t> device_positions(positions);
      const DeviceArray<uint16_t> dqkv(static_cast<size_t>(tokens) * width);
      const auto codes = codes_of_fused_gradient();
      check(qkv_rope_backward(dq.view, dk.view, dv.view, device_positions.get(), device_cos.get(),
                              device_sin.get(), as_bf16(dqkv), tokens, shape, {}, nullptr));
      finish();
      const auto without_codes = dqkv.read();
      check(qkv_rope_backward(dq.view, dk.view, dv.view, device_positions.get(), device_cos.get(),
                              device_sin.get(), as_bf16(dqkv), tokens, shape,
                              codes->wanted(heads_outside), nullptr));
      finish();
      codes->expect_those_of(dqkv, heads_outside);
      EXPECT_EQ(dqkv.read(), without_codes);
      const auto alone = codes_of_fused_gradient();
      check(qkv_rope_backward(dq.view, dk.view, dv.view, device_positions.get(), device_cos.get(),
                              device_sin.get(), nullptr, tokens, shape, alone->wanted(true),
                              nullptr));
      finish();
      alone->expect_those_of(dqkv, true);
      const auto got = dqkv.read();
      for (int t = 0; t < tokens; ++t) {
        const int b = t / c.sequence, place = t % c.sequence;
        for (int h = 0; h < rotated + c.kv_heads; ++h) {
          const auto bits = [&](int i) {
            return h < c.heads   ? dq.value(b, place, h, i)
                   : h < rotated ? dk.value(b, place, h - c.heads, i)
                                 : dv.value(b, place, h - rotated, i);
          };
          const auto head = [&](int i) { return from_bf16_bits(bits(i)); };
          for (int i = 0; i < c.head_dim; ++i) {
            const uint16_t want =
                h < rotated ? bf16_bits(rotated_component(head, t, i, -1)) : bits(i);
            ASSERT_EQ(got[at(t, h) + i], want) << "token " << t << " head " << h << " at " << i;
          }
        }
      }
    }
  }
}

TEST_F(QkvRope, NormedHeadsAreExactGivenRstd) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(::testing::Message() << c.heads << " heads of " << c.head_dim);
    set(c);
    auto qkv = random_bits(static_cast<size_t>(tokens) * width);
    for (int i = 0; i < c.head_dim; ++i) qkv[at(tokens - 1, rotated - 1) + i] = 0;  // a zero head
    const auto q_gain = random_gain(), k_gain = random_gain();
    const DeviceArray<uint16_t> x(qkv);
    const DeviceArray<float> device_cos(cos), device_sin(sin), device_q_gain(q_gain),
        device_k_gain(k_gain), rstd(static_cast<size_t>(tokens) * rotated);
    const DeviceArray<int64_t> device_positions(positions);
    const DeviceArray<uint16_t> q(static_cast<size_t>(tokens) * c.heads * c.head_dim),
        k(static_cast<size_t>(tokens) * c.kv_heads * c.head_dim);
    check(qkv_norm_rope(as_bf16(x), device_q_gain.get(), device_k_gain.get(), kEps,
                        device_positions.get(), device_cos.get(), device_sin.get(), as_bf16(q),
                        as_bf16(k), rstd.get(), tokens, shape, nullptr));
    finish();
    EXPECT_EQ(x.read(), qkv);
    const auto got_q = q.read(), got_k = k.read();
    const auto got_rstd = rstd.read();
    for (int t = 0; t < tokens; ++t) {
      for (int h = 0; h < rotated; ++h) {
        const float r = got_rstd[static_cast<size_t>(t) * rotated + h];
        double squares = 0;
        for (int i = 0; i < c.head_dim; ++i) {
          const double v = from_bf16_bits(qkv[at(t, h) + i]);
          squares += v * v;
        }
        const float want_rstd = 1.0 / std::sqrt(squares / c.head_dim + static_cast<double>(kEps));
        ASSERT_LE(ulps(r, want_rstd), 6) << "token " << t << " head " << h;
        const auto& gain = h < c.heads ? q_gain : k_gain;
        const auto head = [&](int i) {
          const float normalised = from_bf16_bits(qkv[at(t, h) + i]) * r;
          return normalised * gain[i];
        };
        for (int i = 0; i < c.head_dim; ++i) {
          const uint16_t got =
              h < c.heads
                  ? got_q[(static_cast<size_t>(t) * c.heads + h) * c.head_dim + i]
                  : got_k[(static_cast<size_t>(t) * c.kv_heads + h - c.heads) * c.head_dim + i];
          ASSERT_EQ(got, bf16_bits(rotated_component(head, t, i, 1)))
              << "token " << t << " head " << h << " at " << i;
        }
      }
    }
  }
}

TEST_F(QkvRope, NormGradientsFollowTheClosedForm) {
  for (const auto& [c, with_codes] : with_and_without_codes()) {
    SCOPED_TRACE(::testing::Message() << c.heads << " heads of " << c.head_dim);
    set(c);
    const auto qkv = random_bits(static_cast<size_t>(tokens) * width);
    const auto q_gain = random_gain(), k_gain = random_gain();
    std::vector<float> rstd(static_cast<size_t>(tokens) * rotated);
    for (auto& r : rstd) r = uniform(0.5f, 2.0f);
    Gradient dq = random_gradient(c.batch, c.heads, true);
    Gradient dk = random_gradient(c.batch, c.kv_heads, false);
    Gradient dv = random_gradient(c.batch, c.kv_heads, true);
    const DeviceArray<uint16_t> q(dq.bits), k(dk.bits), v(dv.bits), x(qkv), dqkv(qkv.size());
    dq.view.data = as_bf16(q), dk.view.data = as_bf16(k), dv.view.data = as_bf16(v);
    const DeviceArray<float> device_cos(cos), device_sin(sin), device_q_gain(q_gain),
        device_k_gain(k_gain), device_rstd(rstd), dq_gain(c.head_dim), dk_gain(c.head_dim);
    const DeviceArray<int64_t> device_positions(positions);
    const DeviceArray<uint8_t> workspace(qkv_norm_rope_backward_workspace_bytes());
    const auto run = [&](const GradientCodes& codes, __nv_bfloat16* to) {
      check(qkv_norm_rope_backward(dq.view, dk.view, dv.view, as_bf16(x), device_rstd.get(),
                                   device_q_gain.get(), device_k_gain.get(), device_positions.get(),
                                   device_cos.get(), device_sin.get(), to, dq_gain.get(),
                                   dk_gain.get(), workspace.get(), tokens, shape, codes, nullptr));
      finish();
    };
    const auto codes = codes_of_fused_gradient();
    const GradientCodes wanted = with_codes ? codes->wanted(true) : GradientCodes{};
    run(wanted, as_bf16(dqkv));
    if (with_codes) {
      codes->expect_those_of(dqkv, true);
      const auto alone = codes_of_fused_gradient();
      run(alone->wanted(true), nullptr);
      alone->expect_those_of(dqkv, true);
    }
    const auto got = dqkv.read();
    const auto got_dq_gain = dq_gain.read(), got_dk_gain = dk_gain.read();
    const size_t hd = c.head_dim;
    std::vector<double> sums[2] = {std::vector<double>(hd), std::vector<double>(hd)};
    std::vector<double> sizes[2] = {std::vector<double>(hd), std::vector<double>(hd)};
    for (int t = 0; t < tokens; ++t) {
      const int b = t / c.sequence, place = t % c.sequence;
      for (int h = 0; h < rotated; ++h) {
        const bool query = h < c.heads;
        const auto& gain = query ? q_gain : k_gain;
        const double r = rstd[static_cast<size_t>(t) * rotated + h];
        std::vector<double> d(hd), n(hd);
        double mean = 0, scale = 0;
        for (int i = 0; i < c.head_dim; ++i) {
          const auto y = [&](int j) -> double {
            return from_bf16_bits(query ? dq.value(b, place, h, j)
                                        : dk.value(b, place, h - c.heads, j));
          };
          const size_t angle = positions[t] * half + i % half;
          d[i] = i < half ? y(i) * cos[angle] + y(i + half) * sin[angle]
                          : y(i) * cos[angle] - y(i - half) * sin[angle];
          n[i] = from_bf16_bits(qkv[at(t, h) + i]) * r;
          mean += d[i] * gain[i] * n[i] / c.head_dim;
          sums[!query][i] += d[i] * n[i];
          sizes[!query][i] += std::abs(d[i] * n[i]);
        }
        std::vector<double> want(hd);
        for (size_t i = 0; i < hd; ++i) {
          want[i] = r * (d[i] * gain[i] - n[i] * mean);
          scale = std::max(scale, std::abs(want[i]));
        }
        for (size_t i = 0; i < hd; ++i) {
          const double error = std::abs(from_bf16_bits(got[at(t, h) + i]) - want[i]);
          ASSERT_LE(error, std::abs(want[i]) * 0x1p-8 + scale * 1e-5)
              << "token " << t << " head " << h << " at " << i;
        }
      }
      for (int h = rotated; h < rotated + c.kv_heads; ++h) {
        for (int i = 0; i < c.head_dim; ++i) {
          ASSERT_EQ(got[at(t, h) + i], dv.value(b, place, h - rotated, i)) << "token " << t;
        }
      }
    }
    for (size_t i = 0; i < hd; ++i) {
      ASSERT_LE(std::abs(got_dq_gain[i] - sums[0][i]), 1e-5 * sizes[0][i] + 1e-30) << i;
      ASSERT_LE(std::abs(got_dk_gain[i] - sums[1][i]), 1e-5 * sizes[1][i] + 1e-30) << i;
    }
    run(wanted, as_bf16(dqkv));  // the same bits once more
    EXPECT_EQ(dqkv.read(), got);
    EXPECT_EQ(dq_gain.read(), got_dq_gain);
    EXPECT_EQ(dk_gain.read(), got_dk_gain);
  }
}

TEST_F(QkvRope, RefusesShapesItCannotHold) {
  for (QkvShape bad : {QkvShape{4, 2, 1, 24},
                       {4, 2, 1, 16},
                       {4, 2, 1, 272},
                       {3, 2, 1, 64},
                       {4, 0, 1, 64},
                       {4, 200, 50, 128}}) {
    EXPECT_EQ(qkv_rope(nullptr, nullptr, nullptr, nullptr, 4, bad, nullptr), cudaErrorInvalidValue);
    EXPECT_EQ(
        qkv_rope_backward({}, {}, {}, nullptr, nullptr, nullptr, nullptr, 4, bad, {}, nullptr),
        cudaErrorInvalidValue);
  }
  const HeadsView unaligned = {nullptr, 4096, 1024, 68};
  EXPECT_EQ(qkv_rope_backward(unaligned, {}, {}, nullptr, nullptr, nullptr, nullptr, 4,
                              {4, 2, 1, 64}, {}, nullptr),
            cudaErrorInvalidValue);
}

}  // namespace
}  // namespace wf::kernels

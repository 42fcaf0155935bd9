// The quantisers against a scalar reference with the same fp32 operations, bit for bit.
#include "ops/ternary.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/bit_matmul.h"
#include "ops/quantize_rows.h"

namespace wf::ops {
namespace {

using torch::Tensor;

float scalar_absmean(const Tensor& w) {
  double sum = 0;
  const float* p = w.const_data_ptr<float>();
  for (int64_t i = 0; i < w.numel(); ++i) sum += std::fabs(double(p[i]));
  return std::max(float(sum / double(w.numel())), 1e-5F);
}

std::vector<float> scalar_codes(const Tensor& w) {
  const float reciprocal = 1.0F / scalar_absmean(w);
  std::vector<float> codes;
  const float* p = w.const_data_ptr<float>();
  for (int64_t i = 0; i < w.numel(); ++i)
    codes.push_back(std::clamp(std::nearbyint(p[i] * reciprocal), -1.0F, 1.0F));
  return codes;
}

struct ScalarRows {
  std::vector<float> codes, scale;
};
ScalarRows scalar_rows(const Tensor& x) {
  ScalarRows out;
  const float* p = x.const_data_ptr<float>();
  const int64_t width = x.size(1);
  for (int64_t r = 0; r < x.size(0); ++r) {
    float amax = 0;
    for (int64_t k = 0; k < width; ++k) amax = std::max(amax, std::fabs(p[r * width + k]));
    const float s = 127.0F / std::max(amax, 1e-5F);
    out.scale.push_back(s);
    for (int64_t k = 0; k < width; ++k)
      out.codes.push_back(std::clamp(std::nearbyint(p[r * width + k] * s), -128.0F, 127.0F));
  }
  return out;
}

std::vector<float> values(const Tensor& t) {
  const Tensor c = t.contiguous();
  return {c.const_data_ptr<float>(), c.const_data_ptr<float>() + c.numel()};
}

std::vector<Tensor> weights() {
  torch::manual_seed(1);
  return {torch::randn({64, 576}) * 0.02, torch::randn({7, 13}),
          torch::randn({3, 5}) * 1e-7,    torch::zeros({4, 8}),
          torch::randn({33, 257}).pow(3), torch::full({2, 2}, 0.5)};
}

TEST(Ternary, CodesAndScaleEqualTheScalarReferenceBitForBit) {
  for (const Tensor& w : weights()) {
    const Ternary t = ternarize(w);
    EXPECT_EQ(t.scale.item<float>(), scalar_absmean(w));
    EXPECT_EQ(values(t.codes), scalar_codes(w));
  }
}

TEST(Ternary, DiffersFromTrueDoublePrecisionOnlyNearATie) {
  torch::manual_seed(2);
  const Tensor w = torch::randn({512, 1024}) * 0.02;
  const Ternary t = ternarize(w);
  const Tensor exact = w.to(torch::kDouble) / w.to(torch::kDouble).abs().mean();
  const Tensor differs = (exact.round().clamp(-1, 1) != t.codes.to(torch::kDouble));
  const Tensor from_tie = (exact.abs() - 0.5).abs();
  EXPECT_EQ((differs & (from_tie > 1e-5)).sum().item<int64_t>(), 0);
}

TEST(Ternary, RoundsHalfToEven) {  // mistake 7: half-up rounding
  // mean|W| = 1: ±0.5 lie exactly on ties and go to 0, ±1.5 are clamped.
  const Tensor w = torch::tensor({{0.5F, -0.5F, 1.5F, -1.5F}});
  EXPECT_EQ(values(ternarize(w).codes), (std::vector<float>{0, 0, 1, -1}));
}

TEST(Ternary, ScaleIsTheMeanNotItsInverse) {  // mistake 2
  EXPECT_EQ(ternarize(torch::tensor({{2.0F, -4.0F}})).scale.item<float>(), 3.0F);
}

TEST(Ternary, RefusesWeightsThatAreNotWide) {  // mistakes 1 and 11: bf16 arithmetic, bf16 masters
  EXPECT_THROW(ternarize(torch::ones({2, 2}, torch::kBFloat16)), Error);
  EXPECT_THROW(quantize_rows(torch::ones({2, 2}, torch::kBFloat16)), Error);
}

TEST(Ternary, MastersFromCodesReturnTheSameCodesAndScale) {  // mistake 3: absmean taken twice
  torch::manual_seed(3);
  for (int trial = 0; trial < 204; ++trial) {
    const int64_t columns = trial < 200 ? 31 : 6007;  // the last four are over a million weights
    const Tensor w = torch::randn({8 + trial, columns}) * std::pow(10.0, -(trial % 4));
    const Ternary first = ternarize(w);
    const Tensor master = first.codes.clone();
    master_from_codes_(master, first.scale);
    const Ternary again = ternarize(master);
    EXPECT_TRUE(torch::equal(first.codes, again.codes));
    EXPECT_EQ(first.scale.item<float>(), again.scale.item<float>()) << "trial " << trial;
    // What the mistake looks like: T·Δ comes back with a smaller scale.
    EXPECT_LT(ternarize(first.codes * first.scale).scale.item<float>(),
              0.9F * first.scale.item<float>());
  }
}

TEST(QuantizeRows, CodesAndScalesEqualTheScalarReferenceBitForBit) {
  torch::manual_seed(4);
  for (const Tensor& x : {torch::randn({37, 576}), torch::randn({5, 1}),
                          torch::randn({16, 100}) * 1e4, torch::randn({16, 100}).pow(5)}) {
    const RowCodes q = quantize_rows(x);
    const ScalarRows expected = scalar_rows(x);
    EXPECT_EQ(values(q.codes), expected.codes);
    EXPECT_EQ(values(q.scale), expected.scale);
    EXPECT_GE(q.codes.min().item<float>(), -127);  // mistake 1: −128 appears in bf16 only
  }
}

TEST(QuantizeRows, FloorIsOnAmaxAndZeroRowsStayFinite) {  // mistake 8
  Tensor x = torch::zeros({3, 4});
  x[1][2] = 1e-6;
  x[2][0] = 1e-9;
  const RowCodes q = quantize_rows(x);
  EXPECT_EQ(values(q.scale), std::vector<float>(3, 127.0F / 1e-5F));
  EXPECT_EQ(q.codes[0].abs().sum().item<float>(), 0);
  EXPECT_EQ(q.codes[1][2].item<float>(), 13);  // 1e-6 · 127e5 = 12.7
  EXPECT_EQ(q.codes[2][0].item<float>(), 0);
}

TEST(BitMatmul, ForwardIsExactIntegersThenTwoRoundings) {
  torch::manual_seed(5);
  const Tensor x = torch::randn({9, 576}), w = torch::randn({40, 576}) * 0.02;
  const ScalarRows rows = scalar_rows(x);
  const std::vector<float> codes = scalar_codes(w);
  const float delta = scalar_absmean(w);
  const Tensor y =
      bit_matmul(prepare_rows(x, 1, torch::kFloat), prepare_columns(w, 1, torch::kFloat), w, {});
  for (int64_t n = 0; n < 9; ++n)
    for (int64_t m = 0; m < 40; ++m) {
      int32_t acc = 0;
      for (int64_t k = 0; k < 576; ++k)
        acc += int32_t(rows.codes[n * 576 + k]) * int32_t(codes[m * 576 + k]);
      EXPECT_EQ(y[n][m].item<float>(), float(acc) / rows.scale[n] * delta);
    }
}

TEST(BitMatmul, BackwardEqualsTheClosedForm) {
  torch::manual_seed(6);
  const Tensor x = torch::randn({31, 64}).requires_grad_(),
               w = (torch::randn({48, 64}) * 0.05).requires_grad_();
  const Tensor bias = torch::randn({48}).requires_grad_(), dy = torch::randn({31, 48});
  bit_matmul(prepare_rows(x, 1, torch::kFloat), prepare_columns(w, 1, torch::kFloat), w, bias)
      .backward(dy);
  const RowCodes q = quantize_rows(x.detach());
  const Ternary t = ternarize(w.detach());
  const Tensor d64 = dy.to(torch::kDouble);
  const auto rel = [](const Tensor& a, const Tensor& b) {
    return ((a - b).norm() / b.norm()).item<double>();
  };
  EXPECT_LT(rel(x.grad(), d64.mm((t.codes * t.scale).to(torch::kDouble))), 1e-6);
  EXPECT_LT(rel(w.grad(), d64.t().mm((q.codes.to(torch::kDouble) / q.scale.to(torch::kDouble)))),
            1e-6);
  EXPECT_LT(rel(bias.grad(), d64.sum(0)), 1e-6);
}

TEST(BitMatmul, LambdaBlendsTowardsTheQuantisedValuesAndKeepsTheIdentityGradient) {
  torch::manual_seed(7);
  const Tensor x = torch::randn({12, 32}), w = torch::randn({20, 32}) * 0.1,
               dy = torch::randn({12, 20});
  const RowCodes q = quantize_rows(x);
  const Ternary t = ternarize(w);
  for (const double quant : {0.0, 0.25, 0.75}) {
    const Tensor xs = x.clone().requires_grad_(), ws = w.clone().requires_grad_();
    const Tensor y = bit_matmul(prepare_rows(xs, quant, torch::kFloat),
                                prepare_columns(ws, quant, torch::kFloat), ws, {});
    y.backward(dy);
    const Tensor xe = x + quant * (q.codes / q.scale - x), we = w + quant * (t.codes * t.scale - w);
    EXPECT_TRUE(torch::allclose(y, xe.mm(we.t()), 1e-5, 1e-5));
    EXPECT_TRUE(torch::allclose(xs.grad(), dy.mm(we), 1e-5, 1e-5));
    EXPECT_TRUE(torch::allclose(ws.grad(), dy.t().mm(xe), 1e-5, 1e-5));
  }
}

TEST(BitMatmul, Bf16OperandsHoldTheCodesExactly) {
  torch::manual_seed(8);
  const Tensor x = torch::randn({16, 256}), w = torch::randn({32, 256}) * 0.02;
  const Rows wide = prepare_rows(x, 1, torch::kFloat),
             narrow = prepare_rows(x, 1, torch::kBFloat16);
  EXPECT_TRUE(torch::equal(wide.operand, narrow.operand.to(torch::kFloat)));
  const Tensor y32 = bit_matmul(wide, prepare_columns(w, 1, torch::kFloat), w, {});
  const Tensor y16 = bit_matmul(narrow, prepare_columns(w, 1, torch::kBFloat16), w, {});
  EXPECT_TRUE(torch::equal(y32.to(torch::kBFloat16), y16));  // one rounding, at the very end
}

}  // namespace
}  // namespace wf::ops

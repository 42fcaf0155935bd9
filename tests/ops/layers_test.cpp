// Norm, rotary embedding, gate, attention and head against plain fp64 formulas differentiated by
// autograd.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "ops/attention.h"
#include "ops/gated.h"
#include "ops/linear_cross_entropy.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"

namespace wf::ops {
namespace {

using torch::Tensor;

double relative_error(const Tensor& value, const Tensor& truth) {
  return ((value - truth).norm() / truth.norm()).item<double>();
}

// Runs `f` on fp32 leaves and `truth` on the same values in fp64; compares results and all
// gradients.
template <class F, class G>
void expect_same(const std::vector<Tensor>& inputs, F f, G truth, double tolerance) {
  std::vector<Tensor> narrow, wide;
  for (const Tensor& input : inputs) {
    narrow.push_back(input.clone().requires_grad_());
    wide.push_back(input.to(torch::kDouble).requires_grad_());
  }
  const Tensor y = f(narrow), expected = truth(wide);
  EXPECT_LT(relative_error(y, expected), tolerance);
  const Tensor dy = torch::randn_like(expected);
  y.backward(dy.to(y.scalar_type()));
  expected.backward(dy);
  for (size_t i = 0; i < inputs.size(); ++i)
    EXPECT_LT(relative_error(narrow[i].grad(), wide[i].grad()), tolerance) << "input " << i;
}

TEST(RmsNorm, EqualsTheFormula) {
  torch::manual_seed(1);
  expect_same(
      {torch::randn({3, 5, 64}), torch::randn({64})},
      [](auto& in) { return rms_norm(in[0], in[1], 1e-5); },
      [](auto& in) { return in[0] * torch::rsqrt(in[0].square().mean(-1, true) + 1e-5) * in[1]; },
      1e-6);
}

TEST(RmsNorm, UsesItsEps) {  // mistake 12: an eps that the code ignores
  const Tensor h = torch::full({1, 4}, 1e-3), gain = torch::ones({4});
  EXPECT_NEAR(rms_norm(h, gain, 1e-6)[0][0].item<double>(), 1e-3 / std::sqrt(2e-6), 1e-5);
  EXPECT_NEAR(rms_norm(h, gain, 1e-2)[0][0].item<double>(), 1e-3 / std::sqrt(1e-6 + 1e-2), 1e-5);
}

TEST(Gated, EqualsTheFormula) {
  torch::manual_seed(2);
  expect_same(
      {torch::randn({7, 33}), torch::randn({7, 33})},
      [](auto& in) { return gated(in[0], in[1], Activation::kSilu); },
      [](auto& in) { return in[0] * torch::sigmoid(in[0]) * in[1]; }, 1e-6);
  expect_same(
      {torch::randn({7, 33}), torch::randn({7, 33})},
      [](auto& in) { return gated(in[0], in[1], Activation::kRelu2); },
      [](auto& in) { return in[0].clamp_min(0).square() * in[1]; }, 1e-6);
}

TEST(Rope, RotatesPairsByPositionTimesFrequency) {
  torch::manual_seed(3);
  const int64_t dim = 8;
  const Tensor positions = torch::tensor({{0, 1, 5, 300}});
  const RopeTable at =
      rope_at(make_rope_table(301, dim, 10000, std::nullopt, torch::kFloat), positions);
  expect_same(
      {torch::randn({1, 4, 2, dim})}, [&](auto& in) { return rope(in[0], at); },
      [&](auto& in) {
        Tensor out = torch::zeros_like(in[0]);
        for (int64_t t = 0; t < 4; ++t)
          for (int64_t i = 0; i < dim / 2; ++i) {
            const double angle =
                positions[0][t].template item<double>() * std::pow(10000.0, -2.0 * i / dim);
            const auto a = in[0].select(1, t).select(-1, i),
                       b = in[0].select(1, t).select(-1, i + dim / 2);
            out.select(1, t).select(-1, i).copy_(a * std::cos(angle) - b * std::sin(angle));
            out.select(1, t)
                .select(-1, i + dim / 2)
                .copy_(b * std::cos(angle) + a * std::sin(angle));
          }
        return out;
      },
      1e-6);
}

Tensor masked_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& document) {
  const int64_t groups = q.size(2) / k.size(2), t = q.size(1);
  const Tensor kk = k.repeat_interleave(groups, 2), vv = v.repeat_interleave(groups, 2);
  Tensor scores = torch::einsum("bthd,bshd->bhts", {q, kk}) / std::sqrt(double(q.size(3)));
  const Tensor allowed =
      torch::ones({t, t}, torch::kBool)
          .tril()
          .logical_and(document.unsqueeze(2).eq(document.unsqueeze(1)).unsqueeze(1));
  scores = scores.masked_fill(allowed.logical_not(), -std::numeric_limits<double>::infinity());
  return torch::einsum("bhts,bshd->bthd", {scores.softmax(-1), vv});
}

TEST(Attention, StaysInsideDocumentsAndBehindTheDiagonal) {
  torch::manual_seed(4);
  const Tensor document = torch::tensor({{0, 0, 0, 1, 1, 1, 1, 2}, {3, 4, 4, 4, 4, 4, 4, 4}});
  const Tensor starts = torch::tensor({0, 3, 7, 8, 9, 16}, torch::kInt);
  const DocumentRanges packed{starts, starts, 7, false};
  const std::vector<Tensor> qkv = {torch::randn({2, 8, 4, 16}), torch::randn({2, 8, 2, 16}),
                                   torch::randn({2, 8, 2, 16})};
  expect_same(
      qkv, [&](auto& in) { return causal_attention(in[0], in[1], in[2], packed); },
      [&](auto& in) { return masked_attention(in[0], in[1], in[2], document); }, 2e-6);
  const Tensor rows = torch::tensor({0, 8, 16}, torch::kInt);
  const Tensor one_each = torch::tensor({{0, 0, 0, 0, 0, 0, 0, 0}, {1, 1, 1, 1, 1, 1, 1, 1}});
  expect_same(
      qkv, [&](auto& in) { return causal_attention(in[0], in[1], in[2], {rows, rows, 8, true}); },
      [&](auto& in) { return masked_attention(in[0], in[1], in[2], one_each); }, 2e-6);
}

// Rows of 192 tokens, documents on both sides of the kernels' tiles of 64.
TEST(AttentionGpu, StaysInsideDocumentsInEveryType) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no usable GPU";
  torch::manual_seed(4);
  const std::vector<int32_t> at = {0, 1, 64, 128, 192, 322, 384};
  Tensor document = torch::zeros({2 * 192}, torch::kLong);
  for (size_t d = 0; d + 1 < at.size(); ++d) document.slice(0, at[d], at[d + 1]).fill_(int64_t(d));
  document = document.view({2, 192});
  const Tensor starts = torch::tensor(at, torch::kInt);
  const Tensor rows = torch::tensor({0, 192, 384}, torch::kInt);
  const DocumentRanges packed{starts, starts.cuda(), 130, false},
      plain{rows, rows.cuda(), 192, true};
  const Tensor one_each = torch::arange(2).unsqueeze(1).expand({2, 192});

  for (const auto& [type, head_dim, tolerance] : {std::tuple{torch::kFloat, 64, 1e-5},
                                                  {torch::kDouble, 64, 1e-6},
                                                  {torch::kBFloat16, 64, 1e-2},
                                                  {torch::kFloat, 12, 1e-5},
                                                  {torch::kBFloat16, 12, 1e-2}}) {
    SCOPED_TRACE(std::string(c10::toString(type)) + ", head_dim " + std::to_string(head_dim));
    const std::vector<Tensor> qkv = {torch::randn({2, 192, 6, head_dim}),
                                     torch::randn({2, 192, 2, head_dim}),
                                     torch::randn({2, 192, 2, head_dim})};
    for (const auto& [ranges, allowed] : {std::pair{packed, document}, {plain, one_each}})
      expect_same(
          qkv,
          [&](auto& in) {
            const auto gpu = [&](const Tensor& x) { return x.to(torch::kCUDA, type); };
            return causal_attention(gpu(in[0]), gpu(in[1]), gpu(in[2]), ranges)
                .to(torch::kCPU, torch::kFloat);
          },
          [&](auto& in) { return masked_attention(in[0], in[1], in[2], allowed); }, tolerance);
  }
}

TEST(LinearCrossEntropy, EqualsLogitsThenCrossEntropyAndIgnoresLabels) {
  torch::manual_seed(5);
  Tensor labels = torch::randint(0, 50, {23});
  labels[0] = labels[7] = labels[22] = -100;
  for (const int64_t chunk : {4, 23, 100})
    expect_same(
        {torch::randn({23, 16}), torch::randn({50, 16})},
        [&](auto& in) { return linear_cross_entropy(in[0], in[1], labels, 20, -100, chunk); },
        [&](auto& in) {
          return torch::nn::functional::cross_entropy(
              in[0].mm(in[1].t()), labels,
              torch::nn::functional::CrossEntropyFuncOptions().ignore_index(-100));
        },
        2e-6);
}

}  // namespace
}  // namespace wf::ops

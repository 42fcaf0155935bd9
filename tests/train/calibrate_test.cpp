#include "train/calibrate.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "data/synthetic.h"
#include "parallel/single.h"
#include "tests/nn/tiny_config.h"

namespace wf {
namespace {

using torch::Tensor;

Synthetic source() { return {{}, {.batch_size = 8, .sequence_length = 32, .vocab_size = 64}}; }

// Channel by channel the least-squares solution of g·norm(x) = x, by LAPACK in fp64.
Tensor least_squares(const Tensor& x, double eps) {
  const Tensor wide = x.detach().to(torch::kDouble).t();  // [channels, rows]
  const Tensor normed = wide * torch::rsqrt(wide.square().mean(0, true) + eps);
  return std::get<0>(torch::linalg_lstsq(normed.unsqueeze(2), wide.unsqueeze(2))).flatten();
}

TEST(FitGains, AreTheLeastSquaresSolutionOfEveryChannel) {
  const torch::NoGradGuard no_grad;
  DecoderConfig c = tiny_config();
  c.initializer_range = 0.2;
  Decoder student(c, {});
  student.initialize(1);
  c.sub_norm = false;
  Decoder original(c, {});
  original.initialize(2);

  Single parallel(torch::kCPU);
  Synthetic data = source(), again = source();
  fit_gains(student, original, ChannelScales::ones(student), data, /*rows=*/8, parallel);
  const Trace seen = original.forward(
      again.next(),
      {.taps = {.layers = {}, .blocks = {0, 1}}, .weight_quant = 0, .activation_quant = 0});
  for (size_t i = 0; i < 2; ++i) {
    const Block& block = *student.blocks()[i];
    const BlockTap& tap = seen.blocks[i];
    const auto expect = [&](const Tensor& gains, const Tensor& x) {
      const Tensor truth = least_squares(x, c.rms_norm_eps);
      EXPECT_GT((truth - 1).abs().max().item<double>(), 0.1);  // ones would not do
      EXPECT_LT((gains - truth).norm().item<double>(), 1e-5 * truth.norm().item<double>());
    };
    expect(block.self_attn->attn_sub_norm->weight, tap.o_input);
    expect(block.mlp->ffn_sub_norm->weight, tap.down_input);
  }
}

}  // namespace
}  // namespace wf

#include "train/balance.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "data/synthetic.h"
#include "parallel/single.h"
#include "tests/nn/tiny_config.h"

namespace wf {
namespace {

using torch::Tensor;

// Grouped heads, every bias, and weights large enough for rows of unlike lengths.
DecoderConfig grouped() {
  DecoderConfig c = tiny_config();
  c.num_heads = 4;
  c.num_kv_heads = 2;
  c.head_dim = 16;
  c.qkv_bias = c.mlp_bias = true;
  c.sub_norm = false;
  c.initializer_range = 0.2;
  return c;
}

struct Balanced {
  Balanced() : original(grouped(), {}), student(grouped(), {}), data(source()) {
    const torch::NoGradGuard no_grad;
    original.initialize(1);
    student.initialize(1);
    torch::manual_seed(1);
    for (const auto& parameter : original.trained_parameters())
      if (parameter.role == Role::kBias) parameter.value.normal_(0, 0.5);
    const auto from = original.trained_parameters(), to = student.trained_parameters();
    for (size_t i = 0; i < to.size(); ++i) to[i].value.detach().copy_(from[i].value);
    const torch::AutoGradMode grad(true);
    scales = balance_channels(student, original, data, 100, parallel);
  }
  static Synthetic source() {
    return {{}, {.batch_size = 8, .sequence_length = 32, .vocab_size = 64}};
  }

  Decoder original, student;
  Synthetic data;
  Single parallel{torch::kCPU};
  ChannelScales scales;
  Pass full{.taps = {.layers = {}, .blocks = {0, 1}}, .weight_quant = 0, .activation_quant = 0};
};

TEST(Balance, ChangesNothingWhenTheNextMatrixTakesTheScalesBack) {
  Balanced b;
  const torch::NoGradGuard no_grad;
  const Batch batch = b.data.next();
  const Tensor expected = b.original.forward(batch, b.full).hidden;
  EXPECT_GT((b.student.forward(batch, b.full).hidden - expected).abs().max().item<double>(), 0.1);
  for (size_t i = 0; i < 2; ++i) {
    Block& block = *b.student.blocks()[i];
    block.self_attn->o_proj->weight.div_(b.scales.o_input[i]);
    block.mlp->down_proj->weight.div_(b.scales.down_input[i]);
  }
  const Tensor now = b.student.forward(batch, b.full).hidden;
  EXPECT_LT((now - expected).norm().item<double>(), 1e-5 * expected.norm().item<double>());
}

TEST(Balance, MakesRowsBeforeASubNormMoreEqualInLength) {
  Balanced b;
  const torch::NoGradGuard no_grad;
  const Batch batch = b.data.next();
  const Trace before = b.original.forward(batch, b.full);
  const auto spread = [](const Tensor& x) {
    return x.to(torch::kDouble).square().mean(-1).log().std().item<double>();
  };
  for (size_t i = 0; i < 2; ++i) {
    const BlockTap& tap = before.blocks[i];
    EXPECT_LT(spread(tap.o_input * b.scales.o_input[i]), 0.97 * spread(tap.o_input)) << i;
    EXPECT_LT(spread(tap.down_input * b.scales.down_input[i]), 0.97 * spread(tap.down_input)) << i;
  }
}

}  // namespace
}  // namespace wf

#include "nn/decoder.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <set>

#include "tests/nn/tiny_config.h"

namespace wf {
namespace {

using torch::Tensor;

DecoderConfig tiny() {
  DecoderConfig c = tiny_config();
  c.qk_norm = c.qkv_bias = true;
  return c;
}

Batch plain_batch(int64_t rows, int64_t length) {
  Batch batch;
  batch.tokens = torch::randint(0, 50, {rows, length});
  batch.positions = torch::arange(length).expand({rows, length});
  batch.starts = batch.device_starts = torch::arange(0, (rows + 1) * length, length, torch::kInt);
  batch.longest = length;
  return batch;
}

// Mistake 10: ternarising the head, q/k-norms, sub-norms or biases because their names match.
TEST(Decoder, TernarisesTheSevenMatricesOfEveryBlockAndNothingElse) {
  const Decoder model(tiny(), {});
  std::vector<std::string> expected, names;
  for (const char* layer : {"model.layers.0.", "model.layers.1."})
    for (const char* matrix : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                               "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"})
      expected.push_back(std::string(layer) + matrix);
  for (const auto& [name, linear] : model.bit_linears()) names.push_back(name);
  EXPECT_EQ(names, expected);
  for (const auto& parameter : model.trained_parameters())
    EXPECT_EQ(parameter.role == Role::kLinear, parameter.name.ends_with("_proj.weight"))
        << parameter.name;
}

// Mistake 4: one Δ for q, k and v together, or for gate and up. A power of two scales a matrix's Δ
// and leaves its codes: it must reach that matrix's output, to the bit, and no other's.
TEST(Decoder, EveryMatrixHasAScaleOfItsOwn) {
  Decoder model(tiny_config(), {});
  model.initialize(1);
  const torch::NoGradGuard no_grad;
  torch::manual_seed(1);
  const Batch batch = plain_batch(1, 6);
  const Pass pass{.taps = {.layers = {}, .blocks = {0}}};
  const auto look = [&] { return model.forward(batch, pass).blocks.at(0); };
  const BlockTap before = look();
  Block& block = *model.blocks()[0];

  block.self_attn->k_proj->weight.mul_(4);
  BlockTap after = look();
  EXPECT_TRUE(torch::equal(after.k, 4 * before.k));
  EXPECT_TRUE(torch::equal(after.q, before.q));
  EXPECT_TRUE(torch::equal(after.v, before.v));

  block.self_attn->k_proj->weight.div_(4);
  block.mlp->up_proj->weight.mul_(4);
  after = look();
  EXPECT_TRUE(torch::equal(after.down_input, 4 * before.down_input));
}

TEST(Decoder, EverythingButTheMatricesStaysInFullPrecision) {
  Decoder model(tiny(), {});
  model.initialize(1);
  const torch::NoGradGuard no_grad;
  torch::manual_seed(1);
  const Batch batch = plain_batch(1, 6);
  const Pass ternary{
      .taps = {.layers = {}, .blocks = {0, 1}}, .weight_quant = 1, .activation_quant = 1};
  const Tensor before = model.forward(batch, ternary).hidden;
  for (const auto& parameter : model.trained_parameters()) {
    if (parameter.role == Role::kLinear || parameter.role == Role::kHead ||
        parameter.name.ends_with("k_proj.bias"))
      continue;
    // A change far below a ternary step is seen only where nothing rounds it away.
    const Tensor kept = parameter.value.clone();
    parameter.value.mul_(1.01).add_(1e-3);
    EXPECT_FALSE(torch::equal(model.forward(batch, ternary).hidden, before)) << parameter.name;
    parameter.value.copy_(kept);
  }
}

// Whatever trains: matrices behind a frozen embedding and frozen norms, norms alone.
TEST(Decoder, RecomputedBlocksTrainWhateverIsFrozen) {
  torch::manual_seed(1);
  const Batch batch = plain_batch(2, 6);
  for (const Role trained : {Role::kLinear, Role::kNorm}) {
    std::vector<std::vector<Tensor>> gradients;
    for (const bool recompute : {false, true}) {
      Decoder model(tiny(), {});
      model.initialize(1);
      for (const auto& parameter : model.trained_parameters())
        parameter.value.set_requires_grad(parameter.role == trained);
      model.forward(batch, {.taps = {}, .recompute_blocks = recompute})
          .hidden.square()
          .sum()
          .backward();
      auto& list = gradients.emplace_back();
      for (const auto& parameter : model.trained_parameters())
        if (parameter.role == trained) list.push_back(parameter.value.grad());
    }
    for (size_t i = 0; i < gradients[0].size(); ++i) {
      ASSERT_TRUE(gradients[1][i].defined());
      EXPECT_TRUE(torch::equal(gradients[0][i], gradients[1][i]));
    }
  }
}

TEST(Decoder, ListsATiedHeadOnce) {
  DecoderConfig c = tiny();
  c.tied_head = true;
  const Decoder model(c, {});
  std::set<const void*> tensors;
  for (const auto& parameter : model.trained_parameters()) {
    EXPECT_NE(parameter.name, "lm_head.weight");
    EXPECT_TRUE(tensors.insert(parameter.value.data_ptr()).second) << parameter.name;
  }
}

TEST(Decoder, InitialWeightsAreAFunctionOfTheSeed) {
  Decoder one(tiny(), {}), same(tiny(), {}), other(tiny(), {});
  one.initialize(5);
  same.initialize(5);
  other.initialize(6);
  EXPECT_TRUE(
      torch::equal(one.bit_linears()[3].second->weight, same.bit_linears()[3].second->weight));
  EXPECT_FALSE(
      torch::equal(one.bit_linears()[3].second->weight, other.bit_linears()[3].second->weight));
}

TEST(BitLinear, PreparesItsWeightAgainOnlyWhenItHasChanged) {
  const torch::NoGradGuard no_grad;
  BitLinear linear(16, 4, false, {});
  linear.weight.normal_();
  const auto rows = ops::prepare_rows(torch::randn({3, 16}), 1, torch::kFloat);
  const Pass pass;
  const Tensor before = linear.forward(rows, pass);
  auto* raw = linear.weight.data_ptr<float>();  // a write that no version counter sees
  for (int64_t i = 0; i < linear.weight.numel(); ++i) raw[i] = -raw[i];
  EXPECT_TRUE(torch::equal(linear.forward(rows, pass), before));
  linear.weight.add_(0);  // one that it sees
  EXPECT_TRUE(torch::equal(linear.forward(rows, pass), -before));
}

TEST(BitLinear, FollowsTheStrengthOfThePass) {
  const torch::NoGradGuard no_grad;
  BitLinear linear(16, 4, false, {});
  linear.weight.normal_();
  const Tensor x = torch::randn({3, 16});
  for (const double quant : {1.0, 0.0, 1.0}) {
    const Tensor y =
        linear.forward(ops::prepare_rows(x, 0, torch::kFloat), {.taps = {}, .weight_quant = quant});
    EXPECT_EQ(torch::allclose(y, x.mm(linear.weight.t()), 1e-5, 1e-5), quant == 0.0);
  }
}

}  // namespace
}  // namespace wf

#include "train/layer_statistics.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/nn/tiny_config.h"

namespace wf {
namespace {

using torch::Tensor;

// In the words of the paper, in fp64.
Tensor codes_of(const Tensor& weight) {
  const Tensor wide = weight.detach().to(torch::kDouble);
  return (wide / wide.abs().mean()).round().clamp(-1, 1);
}

TEST(LayerWatch, CountsZerosAndFlipsSinceTheLastLookAndDriftSinceTheFirst) {
  Decoder model(tiny_config(), {});
  model.initialize(1);
  const auto [name, linear] = model.bit_linears().at(3);
  const Tensor weight = linear->weight.detach(), codes = codes_of(weight);
  LayerWatch watch(model);
  const auto look = [&] { return watch.look().at(3); };
  EXPECT_EQ(look().name, name);
  EXPECT_EQ(look().flip_rate, 0);
  EXPECT_DOUBLE_EQ(look().zero_fraction, codes.eq(0).to(torch::kDouble).mean().item<double>());

  weight[0].neg_();  // every code of the first row that is not 0
  const double flipped = codes[0].ne(0).sum().item<double>() / double(codes.numel());
  EXPECT_DOUBLE_EQ(look().flip_rate, flipped);
  EXPECT_EQ(look().flip_rate, 0);

  weight.mul_(2);
  EXPECT_FLOAT_EQ(look().scale, weight.abs().mean().item<float>());
  EXPECT_DOUBLE_EQ(look().scale_drift, 1);
  EXPECT_DOUBLE_EQ(look().scale_drift, 1);
}

}  // namespace
}  // namespace wf

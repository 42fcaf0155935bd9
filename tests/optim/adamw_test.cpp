#include "optim/adamw.h"

#include <gtest/gtest.h>

#include "formats/safetensors.h"
#include "io/tensor_file.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/python.h"
#include "tests/optim/example.h"

namespace wf {
namespace {

constexpr int64_t kSteps = 20;

std::vector<Parameter> train(const AdamW::Config& config) {
  const auto parameters = test::example_parameters();
  AdamW optimizer(config, parameters);
  test::train(optimizer, parameters, 0, kSteps);
  return parameters;
}

// The fused implementation of torch.optim is the kernel used here, so it must agree to the last
// bit. The foreach and for-loop ones spell the formula as whole-tensor operations, with scalars
// rounded from double at other places: they agree within 5e-6 of what training changed (against the
// size of the weights a wrong formula could hide).
TEST(AdamW, EqualsTorchOptimOverTwentySteps) {
  const TemporaryFolder folder;
  test::save_example(folder.path(), kSteps);
  test::python(std::string(test::kReadExample) + R"(
def adamw(**how):
    params = fresh()
    linear = [p for n, p in params.items() if n in ("tall", "wide", "square")]
    rest = [params[n] for n in ("head", "norm", "bias")]
    groups = [dict(params=linear, weight_decay=0.1), dict(params=rest),
              dict(params=[params["embedding"]], multiplier=0.25)]
    return train(params, torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8, weight_decay=0, **how))
save_file(adamw(fused=True), "fused.safetensors")
save_file(adamw(foreach=True), "foreach.safetensors")
save_file(adamw(foreach=False), "loop.safetensors")
)",
               folder.path());

  AdamW::Config config;
  config.roles.lr_multiplier.embedding = 0.25;
  const auto trained = train(config);
  const auto start = test::example_parameters();
  const Safetensors fused(folder / "fused.safetensors"), foreach (folder / "foreach.safetensors"),
      loop(folder / "loop.safetensors");
  for (std::size_t i = 0; i < trained.size(); ++i) {
    const auto& [name, value, role] = trained[i];
    EXPECT_TRUE(value.equal(as_torch(fused.tensor(name)))) << name;
    const double change = (value - start[i].value).abs().max().item<double>();
    for (const Safetensors* other : {&foreach, &loop}) {
      const double off = (value - as_torch(other->tensor(name))).abs().max().item<double>();
      EXPECT_LT(off, 5e-6 * change) << name;
    }
  }
}

TEST(AdamW, ShrinksOnlyTheBlocksMatricesWhenGradientsAreZero) {
  const auto parameters = test::example_parameters(), start = test::example_parameters();
  AdamW optimizer({}, parameters);
  for (Parameter p : parameters) p.value.mutable_grad() = torch::zeros_like(p.value);
  optimizer.step(0.5);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const double kept = parameters[i].role == Role::kLinear ? 1 - 0.5 * 0.1 : 1.0;
    EXPECT_TRUE(parameters[i].value.allclose(start[i].value * kept, 1e-6, 0)) << start[i].name;
  }
}

TEST(AdamW, LeavesAParameterWithoutGradientAloneAndCountsItsOwnSteps) {
  const auto parameters = test::example_parameters(), start = test::example_parameters();
  AdamW optimizer({.roles = {.weight_decay = {}}}, parameters);
  auto norm = parameters[2].value;
  test::set_gradients(parameters, 0);
  norm.mutable_grad().reset();
  optimizer.step(0.1);
  EXPECT_TRUE(norm.equal(start[2].value));
  test::set_gradients(parameters, 1);
  optimizer.step(
      0.1);  // the norm's first step: its size is the learning rate, whatever the gradient
  EXPECT_TRUE((norm - start[2].value).abs().allclose(torch::full({16}, 0.1), 1e-4));
}

TEST(AdamW, EveryOptionChangesTheResult) {
  const auto base = train({});
  const auto differs = [&](const AdamW::Config& config) {
    const auto other = train(config);
    for (std::size_t i = 0; i < base.size(); ++i)
      if (!base[i].value.equal(other[i].value)) return true;
    return false;
  };
  EXPECT_FALSE(differs({}));
  EXPECT_TRUE(differs({.beta1 = 0.8}));
  EXPECT_TRUE(differs({.beta2 = 0.99}));
  EXPECT_TRUE(differs({.eps = 1e-3}));
}

}  // namespace
}  // namespace wf

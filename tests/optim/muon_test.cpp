#include "optim/muon.h"

#include <gtest/gtest.h>

#include "formats/safetensors.h"
#include "io/tensor_file.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/expect_error.h"
#include "tests/io/python.h"
#include "tests/optim/example.h"

namespace wf {
namespace {

constexpr int64_t kSteps = 20;

std::vector<Parameter> train(const Muon::Config& config) {
  const auto parameters = test::example_parameters();
  Muon optimizer(config, parameters);
  test::train(optimizer, parameters, 0, kSteps);
  return parameters;
}

// Bit for bit: momentum, bf16 Newton-Schulz and update are the same ATen calls in the same order.
TEST(Muon, EqualsTorchOptimOverTwentySteps) {
  const TemporaryFolder folder;
  test::save_example(folder.path(), kSteps);
  test::python(std::string(test::kReadExample) + R"(
def muon(adjust):
    params = fresh()
    matrices = [p for n, p in params.items() if n in ("tall", "wide", "square")]
    rest = [p for n, p in params.items() if n not in ("tall", "wide", "square")]
    return train(params,
                 torch.optim.Muon(matrices, momentum=0.95, nesterov=True, weight_decay=0.1, adjust_lr_fn=adjust),
                 torch.optim.AdamW(rest, betas=(0.9, 0.95), eps=1e-8, weight_decay=0, fused=True))
for adjust in ("match_rms_adamw", "original"): save_file(muon(adjust), f"{adjust}.safetensors")
)",
               folder.path());

  for (const auto& [name, adjust] : config::names<MuonLrAdjust>) {
    const auto trained = train({.lr_adjust = adjust});
    const Safetensors expected(folder / (std::string(name) + ".safetensors"));
    for (const Parameter& p : trained)
      EXPECT_TRUE(p.value.equal(as_torch(expected.tensor(p.name)))) << name << ' ' << p.name;
  }
}

// Against the singular value decomposition in fp64: every singular direction is kept and its value
// is brought near 1. The quintic's plateau reaches from 0.68 to 1.14; bf16 blurs its ends.
TEST(Muon, OrthogonalizeKeepsDirectionsAndEvensTheirSizes) {
  for (const auto& [rows, columns] : {std::pair{48, 16}, {16, 48}, {32, 32}}) {
    torch::manual_seed(rows);
    const auto [u, ignored, v] = torch::svd(torch::randn({rows, columns}, torch::kFloat64));
    const auto sizes = torch::logspace(0, -1.5, u.size(1), 10, torch::kFloat64);
    const auto matrix = torch::matmul(u * (7 * sizes), v.t()).to(torch::kFloat32);

    const auto seen = torch::matmul(u.t(), orthogonalize(matrix).to(torch::kFloat64).matmul(v));
    EXPECT_GT(seen.diagonal().min().item<double>(), 0.6);
    EXPECT_LT(seen.diagonal().max().item<double>(), 1.25);
    EXPECT_LT((seen - seen.diagonal().diag()).abs().max().item<double>(), 0.05);
  }
}

TEST(Muon, AMatrixMovesByTwoTenthsOfTheLearningRateInRms) {
  Muon::Config config;
  config.roles.weight_decay = {};
  const auto parameters = test::example_parameters(), start = test::example_parameters();
  Muon optimizer(config, parameters);
  test::set_gradients(parameters, 0);
  optimizer.step(0.01);
  for (std::size_t i = 4; i < parameters.size(); ++i) {
    const double rms = (parameters[i].value - start[i].value).square().mean().sqrt().item<double>();
    EXPECT_NEAR(rms, 0.2 * 0.01, 0.3 * 0.2 * 0.01) << start[i].name;
  }
}

TEST(Muon, RefusesABlockParameterThatIsNoMatrix) {
  const std::vector<Parameter> parameters = {
      {"gate", torch::ones({4}).requires_grad_(), Role::kLinear}};
  test::expect_error([&] { Muon({}, parameters); }, {"'gate' has 1 dimensions"});
}

TEST(Muon, EveryOptionChangesTheResult) {
  const auto base = train({});
  const auto differs = [&](const Muon::Config& config) {
    const auto other = train(config);
    for (std::size_t i = 0; i < base.size(); ++i)
      if (!base[i].value.equal(other[i].value)) return true;
    return false;
  };
  EXPECT_FALSE(differs({}));
  EXPECT_TRUE(differs({.momentum = 0.9}));
  EXPECT_TRUE(differs({.beta1 = 0.8}));
  EXPECT_TRUE(differs({.beta2 = 0.99}));
  EXPECT_TRUE(differs({.eps = 1e-3}));
}

}  // namespace
}  // namespace wf

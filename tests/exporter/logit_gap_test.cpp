#include "exporter/logit_gap.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "io/safetensors_write.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/python.h"

namespace wf {
namespace {

TEST(LogitGap, IsNumpys) {
  TemporaryFolder folder;
  torch::manual_seed(1);
  const auto a = torch::randn({30, 50}) * 3 + 5, b = a + torch::randn({30, 50});
  write_safetensors(folder / "in.safetensors", {{"a", a}, {"b", b}});
  const std::string said = test::python(R"(
import numpy as np
from safetensors.numpy import load_file
a, b = (load_file('in.safetensors')[k].astype(np.float64) for k in 'ab')
ca, cb = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (ca, cb))
rows = np.arange(len(a))
print(np.linalg.norm(cb - ca) / np.linalg.norm(ca), (p * np.log(p / q)).sum() / len(a),
      np.mean(a.argmax(1) == b.argmax(1)),
      np.mean(ca.max(1) - ca[rows, cb.argmax(1)]) / ca.std(), ca.std()))",
                                        folder.path());
  const LogitGap gap = logit_gap(a, b);
  std::istringstream numbers(said);
  for (const double value : {gap.rel, gap.kl, gap.top1, gap.regret, gap.spread}) {
    double truth = 0;
    numbers >> truth;
    EXPECT_NEAR(value, truth, 1e-9 * std::abs(truth));
    EXPECT_GT(truth, 0);
  }
}

TEST(LogitGap, KlOfARelativeErrorHoldsForEverySpread) {
  torch::manual_seed(2);
  for (const double spread : {0.05, 0.5, 2.0}) {
    const auto a = torch::randn({200, 2000}, torch::kDouble) * spread;
    const auto b = a + torch::randn({200, 2000}, torch::kDouble) * spread * 0.1;
    EXPECT_NEAR(logit_gap(a, b).kl / kl_of_relative_error(0.1, spread), 1, 0.1) << spread;
  }
}

TEST(LogitGap, AConstantAddedToARowIsNoGap) {
  const auto a = torch::randn({4, 9});
  const LogitGap gap = logit_gap(a, a + torch::arange(4).unsqueeze(1));
  EXPECT_LT(gap.rel, 1e-6);
  EXPECT_EQ(gap.top1, 1);
  EXPECT_EQ(gap.regret, 0);
}

}  // namespace
}  // namespace wf

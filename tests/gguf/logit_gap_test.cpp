#include "gguf/logit_gap.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <sstream>

#include "base/random.h"
#include "formats/safetensors_write.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/python.h"

namespace wf {
namespace {

// Normal numbers of mean 0 and standard deviation 1, by Box and Muller.
std::vector<float> normal(std::size_t count, uint64_t seed) {
  const auto uniform = [&](std::size_t i) {
    return (double(random_bits(seed, i) >> 11) + 0.5) / double(uint64_t{1} << 53);
  };
  std::vector<float> out;
  for (std::size_t i = 0; i < count; ++i)
    out.push_back(float(std::sqrt(-2 * std::log(uniform(2 * i))) *
                        std::cos(2 * std::numbers::pi * uniform(2 * i + 1))));
  return out;
}

std::vector<float> sum(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<float> out;
  for (std::size_t i = 0; i < a.size(); ++i) out.push_back(a[i] + b[i]);
  return out;
}

std::vector<float> times(std::vector<float> values, float factor) {
  for (float& value : values) value *= factor;
  return values;
}

TEST(LogitGap, IsNumpys) {
  TemporaryFolder folder;
  const auto a = sum(times(normal(1500, 1), 3), std::vector<float>(1500, 5));
  const auto b = sum(a, normal(1500, 2));
  const auto rows = [](const char* name, const std::vector<float>& values) {
    return writable(name, in_memory(Dtype::kF32, {30, 50}, values));
  };
  write_safetensors(folder / "in.safetensors", {rows("a", a), rows("b", b)});
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
  const LogitGap gap = logit_gap(a, b, 50);
  std::istringstream numbers(said);
  for (const double value : {gap.rel, gap.kl, gap.top1, gap.regret, gap.spread}) {
    double truth = 0;
    numbers >> truth;
    EXPECT_NEAR(value, truth, 1e-9 * std::abs(truth));
    EXPECT_GT(truth, 0);
  }
}

TEST(LogitGap, KlOfARelativeErrorHoldsForEverySpread) {
  for (const float spread : {0.05F, 0.5F, 2.0F}) {
    const auto a = times(normal(400'000, 3), spread);
    const auto b = sum(a, times(normal(400'000, 4), spread * 0.1F));
    EXPECT_NEAR(logit_gap(a, b, 2000).kl / kl_of_relative_error(0.1, spread), 1, 0.1) << spread;
  }
}

TEST(LogitGap, AConstantAddedToARowIsNoGap) {
  const auto a = normal(36, 5);
  auto b = a;
  for (std::size_t i = 0; i < b.size(); ++i) b[i] += float(i / 9);
  const LogitGap gap = logit_gap(a, b, 9);
  EXPECT_LT(gap.rel, 1e-6);
  EXPECT_EQ(gap.top1, 1);
  EXPECT_EQ(gap.regret, 0);
}

}  // namespace
}  // namespace wf

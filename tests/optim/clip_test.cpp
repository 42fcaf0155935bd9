#include "optim/clip.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "formats/safetensors.h"
#include "io/tensor_file.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/python.h"
#include "tests/optim/example.h"

namespace wf {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<Parameter> parameters_with_gradients(int64_t step) {
  auto parameters = test::example_parameters();
  test::set_gradients(parameters, step);
  return parameters;
}

// Gives two parameters gradients with the common norm `norm`.
void set_norm(const std::vector<Parameter>& parameters, double norm) {
  for (Parameter p : parameters) p.value.mutable_grad() = torch::full({1}, norm / std::sqrt(2));
}

double gradient_norm(const std::vector<Parameter>& parameters) {  // in fp64, elements one by one
  double sum = 0;
  for (const Parameter& p : parameters)
    sum += p.value.grad().to(torch::kFloat64).square().sum().item<double>();
  return std::sqrt(sum);
}

std::vector<Parameter> pair() {
  return {{"a", torch::zeros({1}).requires_grad_(), Role::kLinear},
          {"b", torch::zeros({1}).requires_grad_(), Role::kLinear}};
}

// Clips as a step does; returns the norm before.
double clip_now(Clip& clip, const std::vector<Parameter>& parameters) {
  const auto [norm, coefficient, norms] = clip.measure();
  for (const Parameter& p : parameters)
    if (p.value.grad().defined()) p.value.grad().mul_(coefficient);
  return norm.item<double>();
}

TEST(Clip, EqualsTorchClipGradNorm) {
  const TemporaryFolder folder;
  test::save_example(folder.path(), 1);
  test::python(std::string(test::kReadExample) + R"(
params = fresh()
for n, p in params.items(): p.grad = gradients[0][n]
norm = torch.nn.utils.clip_grad_norm_([params[n] for n in ("embedding", "head", "norm", "bias", "tall", "wide", "square")], 0.5)
save_file({"": norm} | {n: p.grad for n, p in params.items()}, "clipped.safetensors")
)",
               folder.path());
  const auto parameters = parameters_with_gradients(0);
  Clip clip({.norm = 0.5}, parameters);
  const auto [norm, coefficient, norms] = clip.measure();
  for (const Parameter& p : parameters) p.value.grad().mul_(coefficient);
  const Safetensors expected(folder / "clipped.safetensors");
  EXPECT_TRUE(norm.equal(as_torch(expected.tensor(""))));
  for (const Parameter& p : parameters)
    EXPECT_TRUE(p.value.grad().equal(as_torch(expected.tensor(p.name)))) << p.name;
}

TEST(Clip, LeavesGradientsBelowTheCeilingBitForBit) {
  const auto parameters = parameters_with_gradients(0), before = parameters_with_gradients(0);
  for (const Clip::Config& config : {Clip::Config{.norm = 1e4}, Clip::Config{.norm = {}}}) {
    Clip clip(config, parameters);
    const double norm = clip_now(clip, parameters);
    EXPECT_NEAR(norm, gradient_norm(before), 1e-5 * norm);
    for (std::size_t i = 0; i < before.size(); ++i)
      EXPECT_TRUE(parameters[i].value.grad().equal(before[i].value.grad()));
  }
}

TEST(Clip, IgnoresParametersWithoutGradient) {
  auto parameters = parameters_with_gradients(0);
  const double all = gradient_norm(parameters);
  parameters.back().value.mutable_grad().reset();
  Clip clip({}, parameters);
  const double norm = clip_now(clip, parameters);
  parameters.pop_back();
  EXPECT_LT(norm, all);
  EXPECT_NEAR(gradient_norm(parameters), 1, 1e-5);
}

TEST(Clip, NonFiniteGradientsShowInTheNormTheCoefficientAndTheirOwnNorms) {
  for (const double bad : {kInfinity, std::nan("")}) {
    const auto parameters = parameters_with_gradients(0), before = parameters_with_gradients(0);
    parameters[3].value.grad()[5] = bad;
    parameters[5].value.grad()[2][3] = bad;
    const auto [norm, coefficient, norms] = Clip({}, parameters).measure();
    EXPECT_FALSE(std::isfinite(norm.item<double>()));
    EXPECT_FALSE(std::isfinite(coefficient.item<double>()));
    for (int64_t i = 0; i < norms.numel(); ++i)
      EXPECT_EQ(std::isfinite(norms[i].item<double>()), i != 3 && i != 5) << i;
    EXPECT_TRUE(parameters[0].value.grad().equal(before[0].value.grad()));
  }
}

// Norms around 2 that never leave it far.
double steady(int64_t i) { return 2 + 0.1 * std::sin(static_cast<double>(i * i)); }

struct Statistics {
  double mean, deviation;
};
Statistics statistics(int64_t count) {  // of steady(0 .. count-1), two passes
  double mean = 0, variance = 0;
  for (int64_t i = 0; i < count; ++i) mean += steady(i) / static_cast<double>(count);
  for (int64_t i = 0; i < count; ++i)
    variance += std::pow(steady(i) - mean, 2) / static_cast<double>(count);
  return {mean, std::sqrt(variance)};
}

void run_steady(Clip& clip, const std::vector<Parameter>& parameters, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; ++i) {
    set_norm(parameters, steady(i));
    clip_now(clip, parameters);
  }
}

TEST(Clip, ZScoreLetsTheFirstNormsPassAndThenCutsASpikeToThreeDeviations) {
  const auto parameters = pair();
  Clip clip({.norm = {}, .z_score = 3.0}, parameters);
  set_norm(parameters, steady(0));
  clip_now(clip, parameters);
  run_steady(clip, parameters, 1, 24);
  EXPECT_NEAR(gradient_norm(parameters), steady(23), 1e-6);
  run_steady(clip, parameters, 24, 50);
  EXPECT_NEAR(gradient_norm(parameters), steady(49), 1e-6);

  const auto [mean, deviation] = statistics(50);
  set_norm(parameters, 1000);
  EXPECT_NEAR(clip_now(clip, parameters), 1000, 1e-3);  // the norm before clipping
  EXPECT_NEAR(gradient_norm(parameters), mean + 3 * deviation, 1e-4);

  // The spike counts as what was left of it: a second one is cut to nearly the same.
  set_norm(parameters, 1000);
  clip_now(clip, parameters);
  EXPECT_NEAR(gradient_norm(parameters), mean + 3 * deviation, 0.05);
}

TEST(Clip, TheLowerOfBothCeilingsHolds) {
  const auto parameters = pair();
  Clip clip({.norm = 0.5, .z_score = 3.0}, parameters);
  run_steady(clip, parameters, 0, 40);
  EXPECT_NEAR(gradient_norm(parameters), 0.5, 1e-5);
}

TEST(Clip, MemoryOfTheZScoreIsAnAverageOfWeightOneInAHundred) {
  const auto parameters = pair();
  Clip clip({.norm = {}, .z_score = 100.0}, parameters);
  run_steady(clip, parameters, 0, 300);
  StateSaver saver;
  clip.state(saver);
  const double mean = saver.tensors().at(0).value.item<double>();
  const double variance = saver.tensors().at(1).value.item<double>();
  set_norm(parameters, 3.0);
  clip_now(clip, parameters);
  const double after = saver.tensors().at(0).value.item<double>();
  EXPECT_NEAR(after, 0.99 * mean + 0.01 * 3.0, 1e-6);
  EXPECT_NEAR(saver.tensors().at(1).value.item<double>(),
              0.99 * variance + 0.01 * (3.0 - mean) * (3.0 - after), 1e-6);
}

TEST(Clip, ContinuesFromItsSavedStatistics) {
  const auto parameters = pair();
  Clip clip({.z_score = 3.0}, parameters), resumed({.z_score = 3.0}, parameters);
  run_steady(clip, parameters, 0, 60);
  test::resume(clip, resumed);

  for (Clip* each : {&clip, &resumed}) {
    set_norm(parameters, 1000);
    clip_now(*each, parameters);
  }
  StateSaver one, other;
  clip.state(one);
  resumed.state(other);
  EXPECT_EQ(one.numbers(), other.numbers());
  for (std::size_t i = 0; i < one.tensors().size(); ++i)
    EXPECT_TRUE(one.tensors()[i].value.equal(other.tensors()[i].value));
}

}  // namespace
}  // namespace wf

#include "optim/registry.h"

#include <gtest/gtest.h>

#include "config/load.h"
#include "tests/optim/example.h"

namespace wf {
namespace {

struct Settings {
  config::Choice<optimizers> optimizer{"adamw"};

  static constexpr auto fields() {
    return config::fields<Settings>(config::field<&Settings::optimizer>("the optimizer"));
  }
};

void copy_values(const std::vector<Parameter>& from, const std::vector<Parameter>& to) {
  const torch::NoGradGuard no_grad;
  for (std::size_t i = 0; i < from.size(); ++i) torch::Tensor(to[i].value).copy_(from[i].value);
}

TEST(Optimizers, EveryOneIsBuiltPrintedReadBackSteppedSavedAndResumedBitForBit) {
  for (const auto& row : optimizers().rows) {
    SCOPED_TRACE(row.name);
    const auto settings = config::parse<Settings>(fmt::format("optimizer: {{kind: {}}}", row.name));
    const auto again = config::parse<Settings>(config::print_config(settings));
    EXPECT_EQ(again.optimizer.kind(), row.name);
    EXPECT_TRUE(config::changes(settings, again).empty());

    const auto parameters = test::example_parameters();
    const auto optimizer = settings.optimizer.build(parameters);
    test::train(*optimizer, parameters, 0, 5);
    const auto start = test::example_parameters();
    for (std::size_t i = 0; i < start.size(); ++i)
      EXPECT_FALSE(parameters[i].value.equal(start[i].value)) << start[i].name << " did not move";
    const auto resumed = test::example_parameters();
    const auto fresh = again.optimizer.build(resumed);
    copy_values(parameters, resumed);
    test::resume(*optimizer, *fresh);
    test::train(*optimizer, parameters, 5, 10);
    test::train(*fresh, resumed, 5, 10);
    for (std::size_t i = 0; i < parameters.size(); ++i)
      EXPECT_TRUE(resumed[i].value.equal(parameters[i].value)) << resumed[i].name;
  }
}

// BitLinear knows by the version counter that a weight has changed; a kernel that writes past it
// would leave every forward with the weights of the first step.
TEST(Optimizers, AStepRaisesTheVersionOfEveryParameterItWrites) {
  for (const auto& row : optimizers().rows) {
    SCOPED_TRACE(row.name);
    const auto parameters = test::example_parameters();
    const auto optimizer = row.make(row.defaults().get(), parameters);
    std::vector<uint32_t> before;
    for (const auto& parameter : parameters) before.push_back(parameter.value._version());
    test::train(*optimizer, parameters, 0, 1);
    for (std::size_t i = 0; i < parameters.size(); ++i)
      EXPECT_GT(parameters[i].value._version(), before[i]) << parameters[i].name;
  }
}

TEST(Optimizers, AFrozenRoleHasNoStateAndDoesNotMove) {
  for (const auto& row : optimizers().rows) {
    SCOPED_TRACE(row.name);
    const auto settings = config::parse<Settings>(fmt::format(
        "optimizer: {{kind: {}, roles: {{lr_multiplier: {{embedding: 0}}}}}}", row.name));
    const auto parameters = test::example_parameters();
    const auto optimizer = settings.optimizer.build(parameters);
    test::train(*optimizer, parameters, 0, 2);
    EXPECT_TRUE(parameters[0].value.equal(test::example_parameters()[0].value));
    StateSaver saver;
    optimizer->state(saver);
    for (const auto& [name, value] : saver.tensors()) EXPECT_FALSE(name.starts_with("embedding"));
  }
}

}  // namespace
}  // namespace wf

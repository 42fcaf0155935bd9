#include "optim/groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/io/expect_error.h"
#include "tests/optim/example.h"

namespace wf {
namespace {

std::vector<std::string> names(const Group& group) {
  std::vector<std::string> all;
  for (const Parameter& p : group.parameters) all.push_back(p.name);
  return all;
}

TEST(Groups, DecayTheBlocksMatricesAndNothingElseByDefault) {
  const auto groups = make_groups(test::example_parameters(), {});
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].weight_decay, 0);
  EXPECT_THAT(names(groups[0]), testing::ElementsAre("embedding", "head", "norm", "bias"));
  EXPECT_EQ(groups[1].weight_decay, 0.1);
  EXPECT_THAT(names(groups[1]), testing::ElementsAre("tall", "wide", "square"));
}

TEST(Groups, EachRoleHasSettingsOfItsOwn) {
  const RoleSettings settings{.lr_multiplier = {1, 2, 3, 4, 5}, .weight_decay = {6, 7, 8, 9, 10}};
  const auto groups = make_groups(test::example_parameters(), settings);
  ASSERT_EQ(groups.size(), 5u);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(groups[i].lr_multiplier, 1 + i);
    EXPECT_EQ(groups[i].weight_decay, 6 + i);
  }
}

TEST(Groups, AMultiplierOfZeroFreezes) {
  RoleSettings settings;
  settings.lr_multiplier.embedding = settings.lr_multiplier.norm = 0;
  const auto parameters = test::example_parameters();
  const auto groups = make_groups(parameters, settings);
  EXPECT_THAT(names(groups[0]), testing::ElementsAre("head", "bias"));
  for (const Parameter& p : parameters)
    EXPECT_EQ(p.value.requires_grad(), p.name != "embedding" && p.name != "norm") << p.name;
}

TEST(Groups, RefuseASharedTensorAndAnEmptyRest) {
  auto parameters = test::example_parameters();
  test::expect_error([&] { make_groups(parameters, {.lr_multiplier = {}}); }, {"nothing is left"});
  parameters[1].value = parameters[0].value;
  test::expect_error([&] { make_groups(parameters, {}); }, {"'embedding' and 'head'"});
}

}  // namespace
}  // namespace wf

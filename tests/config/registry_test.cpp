#include "config/registry.h"

#include <gtest/gtest.h>

#include "tests/config/example.h"

namespace wf::example {
namespace {

TEST(Registry, BuildsTheChosenRowFromItsOwnConfig) {
  const RunConfig run =
      config::parse<RunConfig>("name: x\nobjective: {kind: cross_entropy, z_loss: 0.5}\n");
  Gain gain{2};
  const auto objective = run.objective.build(gain);
  EXPECT_EQ(objective->loss(3), 6.5);
  gain.value = 10;  // handed over by reference
  EXPECT_EQ(objective->loss(3), 30.5);
}

TEST(Registry, EveryRowPrintsAndReadsBack) {
  for (const auto& row : objectives().rows) {
    config::Choice<objectives> choice{row.name};
    EXPECT_EQ(choice.kind(), row.name);
    EXPECT_EQ(choice.write_choice().find("kind")->scalar, row.name);
  }
}

TEST(Choice, CopiesDoNotShareWhatIsReadLater) {
  const config::Choice<objectives> original{"cross_entropy"};
  config::Choice<objectives> copy = original;
  config::Problems problems;
  copy.read_choice(config::parse_yaml("z_loss: 7", "a.yaml", problems), "", problems);
  EXPECT_TRUE(problems.list.empty());
  Gain gain;
  EXPECT_EQ(copy.build(gain)->loss(0), 7);
  EXPECT_EQ(original.build(gain)->loss(0), 0);
}

TEST(Choice, WithoutADefaultTheKindIsRequired) {
  EXPECT_EQ(complaint([] { config::parse<Term>("weight: 1", "a.yaml"); }),
            "a.yaml:1: objective.kind: required key is missing; there are: cross_entropy, "
            "layerwise, sum");
  Gain gain;
  EXPECT_EQ(complaint([&] { config::Choice<objectives>().build(gain); }),
            "no objective was chosen");
}

TEST(Choice, ADefaultThatIsNoRowIsAnError) {
  EXPECT_EQ(complaint([] { config::Choice<objectives>("typo"); }),
            "no objective is named 'typo'; there are: cross_entropy, layerwise, sum");
}

TEST(Choice, AKindThatIsNoWordIsAProblem) {
  EXPECT_EQ(complaint_about("name: x\nobjective: {kind: [sum]}\n"),
            "a.yaml:2: objective.kind: no objective is named [sum]. There are: cross_entropy, "
            "layerwise, sum");
}

}  // namespace
}  // namespace wf::example

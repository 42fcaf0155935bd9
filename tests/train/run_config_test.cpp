// Combinations that no single option can see.
#include "train/run_config.h"

#include <gtest/gtest.h>

#include "tests/io/expect_error.h"

namespace wf {
namespace {

std::string complaint_about(const std::string& text) {
  try {
    config::parse<RunConfig>("name: x\nmodel: {path: x}\ndata: {kind: synthetic}\n" + text, "a");
  } catch (const Error& error) {
    return error.what();
  }
  return "no complaint";
}

TEST(RunConfig, DefaultsWithANameAModelAndDataAreARun) {
  EXPECT_EQ(complaint_about(""), "no complaint");
}

TEST(RunConfig, ReportsEveryImpossibleCombinationInOneRun) {
  EXPECT_EQ(complaint_about("steps: 100\n"
                            "lr: {warmup_steps: 200}\n"
                            "quant:\n"
                            "  weights: {value: 2}\n"
                            "  activations: {kind: piecewise, points: [0, 1], values: [0, 3]}\n"
                            "teacher: y\n"
                            "log: {profile_step: 101}\n"),
            "a:5: lr: warmup_steps = 200 does not end within a run of 100 steps\n"
            "a:7: quant.weights.value: λ is from 0 to 1\n"
            "a:8: quant.activations.values: λ is from 0 to 1\n"
            "a:9: teacher: objective cross_entropy has no use for a teacher\n"
            "a:10: log.profile_step: the run ends before this step");
}

TEST(RunConfig, StagesAndObjectivesMissNothingTheyNeed) {
  EXPECT_EQ(complaint_about("objective: {kind: logits_kl}\n"),
            "a:1: teacher: this objective needs a teacher: name its folder");
  const std::string stage1 = "name: x\nstage: insert_subln\nmodel: {path: x, init: random}\n";
  test::expect_error([&] { config::parse<RunConfig>(stage1, "a"); },
                     {"a:3: model.init: insert_subln starts from weights",
                      "data: this stage needs data; name it with a kind"});
}

TEST(RunConfig, LambdaStaysBetweenFullPrecisionAndTernary) {
  EXPECT_EQ(complaint_about("quant: {weights: {start: 1.5, warmup_steps: 3}}\n"),
            "a:4: quant.weights.start: λ is from 0 to 1");
  EXPECT_EQ(complaint_about("quant: {activations: {kind: linear, final: 1.5}}\n"),
            "a:4: quant.activations.final: λ is from 0 to 1");
}

}  // namespace
}  // namespace wf

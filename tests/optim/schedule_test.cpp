#include "optim/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/load.h"
#include "tests/io/expect_error.h"

namespace wf {
namespace {

using Kind = Schedule::Kind;

TEST(Schedule, ConstantStaysAtItsValueFromFirstToLastStep) {
  const Schedule s{.value = 0.3};
  for (int64_t step : {0, 1, 50, 99}) EXPECT_EQ(s.at(step, 100), 0.3);
}

TEST(Schedule, WarmupRisesFromStartAtStepZeroToValueAtWarmupSteps) {
  const Schedule s{.value = 1.0, .warmup_steps = 500, .start = 0.2};
  EXPECT_EQ(s.at(0, 1000), 0.2);
  EXPECT_DOUBLE_EQ(s.at(250, 1000), 0.6);
  EXPECT_LT(s.at(499, 1000), 1.0);
  EXPECT_EQ(s.at(500, 1000), 1.0);
  EXPECT_EQ(s.at(999, 1000), 1.0);
}

TEST(Schedule, LinearWithoutFinalRisesAndStays) {  // λ
  const Schedule s{.kind = Kind::kLinear, .value = 1, .warmup_steps = 500, .start = 0};
  EXPECT_EQ(s.at(0, 5000), 0.0);
  EXPECT_DOUBLE_EQ(s.at(100, 5000), 0.2);
  EXPECT_EQ(s.at(500, 5000), 1.0);
  EXPECT_EQ(s.at(4999, 5000), 1.0);
}

TEST(Schedule, LinearFallsByEqualStepsToFinalAtTheLastStep) {
  const Schedule s{.kind = Kind::kLinear, .value = 2, .warmup_steps = 10, .final = 0.5};
  EXPECT_EQ(s.at(0, 101), 0.0);
  EXPECT_EQ(s.at(10, 101), 2.0);
  EXPECT_EQ(s.at(100, 101), 0.5);
  for (int64_t step = 11; step <= 100; ++step)
    EXPECT_NEAR(s.at(step - 1, 101) - s.at(step, 101), 1.5 / 90, 1e-12) << step;
}

TEST(Schedule, CosineFallsAlongHalfAPeriodToFinalAtTheLastStep) {
  const Schedule s{.kind = Kind::kCosine, .value = 3e-4, .final = 3e-5};
  EXPECT_EQ(s.at(0, 1001), 3e-4);
  EXPECT_NEAR(s.at(250, 1001), 3e-5 + 2.7e-4 * 0.853553390593274, 1e-15);  // (1 + cos 45°)/2
  EXPECT_NEAR(s.at(500, 1001), (3e-4 + 3e-5) / 2, 1e-15);
  EXPECT_EQ(s.at(1000, 1001), 3e-5);
}

TEST(Schedule, WsdFallsOverTheLastShareOfTheTrueRunLength) {
  const Schedule s{
      .kind = Kind::kWsd, .value = 1e-3, .warmup_steps = 100, .final = 0, .decay = 0.2};
  EXPECT_EQ(s.at(0, 1000), 0.0);
  EXPECT_DOUBLE_EQ(s.at(50, 1000), 5e-4);
  EXPECT_EQ(s.at(100, 1000), 1e-3);
  EXPECT_EQ(s.at(799, 1000), 1e-3);
  EXPECT_DOUBLE_EQ(s.at(800, 1000), 1e-3 * 199 / 200);
  EXPECT_EQ(s.at(999, 1000), 0.0);
  EXPECT_EQ(s.at(799, 2000), 1e-3);  // a longer run falls later
  EXPECT_EQ(s.at(1599, 2000), 1e-3);
  EXPECT_LT(s.at(1600, 2000), 1e-3);
}

TEST(Schedule, PiecewiseFollowsItsPointsAndJumpsWhereTwoAreEqual) {
  const Schedule s{.kind = Kind::kPiecewise,
                   .value = 1e-3,
                   .points = {0, 0.5, 0.5, 1},
                   .values = {1, 0.8, 0.5, 0}};
  EXPECT_EQ(s.at(0, 101), 1e-3);
  EXPECT_DOUBLE_EQ(s.at(25, 101), 0.9e-3);
  EXPECT_DOUBLE_EQ(s.at(49, 101), 1e-3 * (0.8 + 0.2 / 50));
  EXPECT_EQ(s.at(50, 101), 0.5e-3);
  EXPECT_EQ(s.at(100, 101), 0.0);
}

TEST(Schedule, WarmupOfAPiecewiseEndsOnItsCurve) {
  const Schedule s{
      .kind = Kind::kPiecewise, .warmup_steps = 20, .points = {0, 1}, .values = {1, 0}};
  EXPECT_EQ(s.at(0, 101), 0.0);
  EXPECT_DOUBLE_EQ(s.at(10, 101), 0.4);
  EXPECT_DOUBLE_EQ(s.at(20, 101), 0.8);
}

TEST(Schedule, OneStepTakesTheValueBeforeTheFallAndTheEndStaysBeyondTheRun) {
  for (Kind kind : {Kind::kConstant, Kind::kLinear, Kind::kCosine, Kind::kWsd}) {
    const Schedule s{.kind = kind, .value = 0.7, .final = 0.1};
    EXPECT_EQ(s.at(0, 1), 0.7);
    EXPECT_EQ(s.at(50, 50), s.at(49, 50));
  }
}

TEST(Schedule, TellsWhatDoesNotFitTheRun) {
  using testing::HasSubstr;
  const Schedule rise{.warmup_steps = 500};
  EXPECT_EQ(rise.problem(501), "");
  EXPECT_THAT(rise.problem(500), HasSubstr("500"));
  const Schedule wsd{.kind = Kind::kWsd, .warmup_steps = 799, .final = 0, .decay = 0.2};
  EXPECT_EQ(wsd.problem(1000), "");  // 0..799 rise, 800..999 fall
  EXPECT_THAT(wsd.problem(990), HasSubstr("no room for a fall of 198 steps"));
  const Schedule cosine{.kind = Kind::kCosine, .warmup_steps = 9, .final = 0};
  EXPECT_EQ(cosine.problem(11), "");
  EXPECT_NE(cosine.problem(10), "");
}

TEST(Schedule, ReadsBackWhatItPrints) {
  const auto s =
      config::parse<Schedule>("{kind: wsd, value: 1e-3, warmup_steps: 500, decay: 0.2, final: 0}");
  const auto again = config::parse<Schedule>(config::print_config(s));
  EXPECT_TRUE(config::changes(s, again).empty());
  for (int64_t step = 0; step < 3000; ++step) ASSERT_EQ(s.at(step, 3000), again.at(step, 3000));
}

TEST(Schedule, RefusesContradictions) {
  const auto refused = [](const char* text, const char* part) {
    test::expect_error([&] { config::parse<Schedule>(text); }, {part});
  };
  refused("{kind: cosine}", "final: cosine and wsd need");
  refused("{kind: wsd, final: 0, decay: 0}", "decay: wsd needs");
  refused("{kind: linear, points: [0, 1]}", "points: only kind piecewise");
  refused("{kind: piecewise}", "points: expected shares");
  refused("{kind: piecewise, points: [0, 0.7, 0.5, 1], values: [1, 1, 1, 1]}", "points: expected");
  refused("{kind: piecewise, points: [0, 1], values: [1]}", "values: there are 1 values for 2");
  refused("{kind: piecewise, points: [0, 1], values: [1, -1]}", "values: expected a value >= 0");
  refused("{kind: linear, final: -1}", "final: expected a value >= 0");
}

}  // namespace
}  // namespace wf

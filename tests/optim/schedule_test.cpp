#include "optim/schedule.h"

#include <gtest/gtest.h>

namespace wf {
namespace {

using Kind = Schedule::Kind;

TEST(Schedule, ConstantStaysAtItsValueFromFirstToLastStep) {
  const Schedule s{.value = 0.3};
  for (int64_t step : {0, 1, 50, 99}) EXPECT_EQ(s.at(step, 100), 0.3);
}

}  // namespace
}  // namespace wf

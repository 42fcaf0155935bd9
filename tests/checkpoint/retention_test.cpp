#include "checkpoint/retention.h"

#include <gtest/gtest.h>

#include <map>

namespace wf {
namespace {

using Steps = std::vector<int64_t>;

// The steps that remain of checkpoints at 10, 20, ... 100, with these losses where measured.
Steps remaining(const Retention::Config& config, const std::map<int64_t, double>& losses = {}) {
  std::vector<SavedCheckpoint> saved;
  for (int64_t step = 10; step <= 100; step += 10) {
    saved.push_back({std::to_string(step), step, std::nullopt});
    if (losses.contains(step)) saved.back().loss = losses.at(step);
  }
  Steps steps;
  for (const auto& checkpoint : saved) steps.push_back(checkpoint.step);
  for (const auto& gone : expired(saved, config)) std::erase(steps, gone.step);
  return steps;
}

TEST(Retention, KeepsTheLast) {
  EXPECT_EQ(remaining({.keep_last = 3}), (Steps{80, 90, 100}));
  EXPECT_EQ(remaining({.keep_last = 1}), (Steps{100}));
  EXPECT_EQ(remaining({.keep_last = 50}).size(), 10u);
}

TEST(Retention, KeepsTheBest) {
  EXPECT_EQ(remaining({.keep_last = 1}, {{20, 3.0}, {40, 2.0}, {60, 2.5}}), (Steps{40, 100}));
  EXPECT_EQ(remaining({.keep_last = 1, .keep_best = false}, {{40, 2.0}}), (Steps{100}));
  EXPECT_EQ(remaining({.keep_last = 1}, {{100, 2.0}, {40, 2.5}}), (Steps{100}));
}

TEST(Retention, KeepsMilestones) {
  EXPECT_EQ(remaining({.keep_last = 1, .keep_every = 40}), (Steps{40, 80, 100}));
}

TEST(Retention, HasNothingToDoAtFirst) { EXPECT_TRUE(expired({}, {}).empty()); }

}  // namespace
}  // namespace wf

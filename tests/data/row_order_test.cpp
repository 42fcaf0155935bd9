#include "data/row_order.h"

#include <gtest/gtest.h>

#include <set>

namespace wf {
namespace {

TEST(RowOrder, EveryRowOfAnEpochComesOnceAndRowsTouchEndToEnd) {
  for (const int64_t tokens : {9, 10, 15, 16, 17, 100, 1003})
    for (int64_t epoch = 0; epoch < 20; ++epoch) {
      const int64_t length = 8;
      const RowOrder order(5, tokens, length);
      std::set<int64_t> firsts;
      for (int64_t row = 0; row < order.rows(epoch); ++row)
        EXPECT_TRUE(firsts.insert(order.first_token(epoch, row)).second);
      ASSERT_FALSE(firsts.empty());
      int64_t expected = *firsts.begin();  // the shift
      EXPECT_GE(expected, 0);
      EXPECT_LT(expected, length);
      for (const int64_t first : firsts) {
        EXPECT_EQ(first, expected);
        expected += length;
      }
      EXPECT_LE(expected + 1, tokens) << "the last row has no last label";
      EXPECT_GT(expected + 1 + length, tokens) << "one more row would have fitted";
    }
}

TEST(RowOrder, EpochsAndKeysDiffer) {
  const auto order = [](uint64_t key, int64_t epoch) {
    const RowOrder rows(key, 100'000, 8);
    std::vector<int64_t> firsts;
    for (int64_t row = 0; row < 1000; ++row) firsts.push_back(rows.first_token(epoch, row) / 8);
    return firsts;
  };
  EXPECT_EQ(order(1, 0), order(1, 0));
  EXPECT_NE(order(1, 0), order(1, 1));
  EXPECT_NE(order(1, 0), order(2, 0));
}

TEST(RowOrder, EveryShiftHappens) {
  const RowOrder order(1, 1000, 8);
  std::set<int64_t> shifts;
  for (int64_t epoch = 0; epoch < 200; ++epoch) shifts.insert(order.first_token(epoch, 0) % 8);
  EXPECT_EQ(shifts.size(), 8u);
}

// Neighbours in the epoch are not neighbours in the corpus: the mean distance of two random places
// among n is n/3.
TEST(RowOrder, IsShuffled) {
  const int64_t length = 4, tokens = 40'001;
  const RowOrder order(3, tokens, length);
  const int64_t rows = order.rows(0);
  double distance = 0;
  for (int64_t row = 1; row < rows; ++row)
    distance += std::abs(double(order.first_token(0, row) - order.first_token(0, row - 1)));
  EXPECT_NEAR(distance / double(rows - 1) / tokens, 1.0 / 3, 0.01);
}

}  // namespace
}  // namespace wf

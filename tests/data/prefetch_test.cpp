#include "data/prefetch.h"

#include <gtest/gtest.h>

#include "data/synthetic.h"
#include "tests/data/corpus.h"
#include "tests/data/state.h"
#include "tests/io/expect_error.h"

namespace wf {
namespace {

using test::numbers;
using test::Saved;

const DataShape kShape{.batch_size = 2, .sequence_length = 5, .vocab_size = 100};

std::unique_ptr<DataSource> source() {
  return std::make_unique<Synthetic>(Synthetic::Config{}, kShape);
}

std::vector<std::vector<int64_t>> batches(DataSource& from, int count) {
  std::vector<std::vector<int64_t>> all;
  for (int i = 0; i < count; ++i) all.push_back(numbers(from.next().tokens));
  return all;
}

TEST(Prefetch, GivesWhatItsSourceGives) {
  for (const std::size_t depth : {1, 2, 5}) {
    Prefetch ahead(source(), depth);
    EXPECT_EQ(batches(ahead, 50), batches(*source(), 50));
  }
}

TEST(Prefetch, SavesThePositionOfTheBatchesItGaveNotOfThoseItPrepared) {
  for (int given = 0; given < 6; ++given) {
    Prefetch ahead(source(), 3);
    const auto plain = source();
    EXPECT_EQ(batches(ahead, given), batches(*plain, given));
    const auto resumed = source();
    Saved(ahead).load_into(*resumed);
    const auto expected = batches(*plain, 10);
    EXPECT_EQ(batches(*resumed, 10), expected);
    EXPECT_EQ(batches(ahead, 10), expected) << "saving disturbed the order";
  }
}

TEST(Prefetch, ResumesExactlyEvenAfterItHasRun) {
  const auto plain = source();
  batches(*plain, 7);
  Prefetch fresh(source()), used(source());
  batches(used, 3);
  Saved saved(*plain);
  saved.load_into(fresh);
  saved.load_into(used);
  const auto expected = batches(*plain, 10);
  EXPECT_EQ(batches(fresh, 10), expected);
  EXPECT_EQ(batches(used, 10), expected);
}

TEST(Prefetch, SavingTwiceInARowChangesNothing) {
  Prefetch ahead(source());
  const auto plain = source();
  for (int i = 0; i < 3; ++i) {
    Saved once(ahead), twice(ahead);
    EXPECT_EQ(batches(ahead, 2), batches(*plain, 2));
  }
}

class Breaking : public DataSource {  // at its third batch
 public:
  Batch next() override {
    if (++given_ > 2) fail("the disk is gone");
    return source_->next();
  }
  void state(StateVisitor& visit) override { source_->state(visit); }
  std::vector<const TokenShards*> corpora() const override { return {}; }

 private:
  int given_ = 0;
  std::unique_ptr<DataSource> source_ = source();
};

TEST(Prefetch, WhatTheThreadThrowsIsThrownInItsTurnAndAgain) {
  Prefetch ahead(std::make_unique<Breaking>(), 4);
  EXPECT_EQ(batches(ahead, 2), batches(*source(), 2));
  test::expect_error([&] { ahead.next(); }, {"the disk is gone"});
  test::expect_error([&] { ahead.next(); }, {"the disk is gone"});
}

TEST(Prefetch, EndsWithoutHangingWhateverItIsDoing) {
  for (int i = 0; i < 200; ++i) {
    Prefetch ahead(source(), 1 + i % 3);
    batches(ahead, i % 4);
  }
  Prefetch broken(std::make_unique<Breaking>());
  batches(broken, 2);
}

}  // namespace
}  // namespace wf

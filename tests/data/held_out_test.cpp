#include "data/held_out.h"

#include <gtest/gtest.h>

#include <set>

#include "data/mixture.h"
#include "data/prefetch.h"
#include "tests/base/temporary_folder.h"
#include "tests/data/corpus.h"
#include "tests/io/expect_error.h"

namespace wf {
namespace {

using test::Corpus;
using test::expect_error;
using test::numbers;

DataShape shape(int64_t batch_size, int64_t rank = 0, int64_t size = 1) {
  return {.batch_size = batch_size,
          .sequence_length = 5,
          .rank = rank,
          .size = size,
          .vocab_size = 1 << 20};
}

std::vector<int64_t> first_tokens(HeldOut& data, std::vector<int64_t>* batch_rows = nullptr) {
  std::vector<int64_t> firsts;
  while (auto batch = data.next()) {
    for (const int64_t token : numbers(batch->tokens.select(1, 0))) firsts.push_back(token);
    if (batch_rows) batch_rows->push_back(batch->tokens.size(0));
  }
  return firsts;
}

TEST(HeldOut, GivesRowsInStoredOrderAndTheSameAfterRewinding) {
  const TemporaryFolder folder;
  Corpus::counting({{20, 7}, {9}}).write(folder.path());  // 36 tokens: 7 rows and a last label
  HeldOut data(folder.path(), 1000, shape(3));
  std::vector<int64_t> batch_rows;
  EXPECT_EQ(first_tokens(data, &batch_rows), (std::vector<int64_t>{0, 5, 10, 15, 20, 25, 30}));
  EXPECT_EQ(batch_rows, (std::vector<int64_t>{3, 3, 1}));
  EXPECT_EQ(data.tokens(), 35);
  EXPECT_FALSE(data.next());
  data.rewind();
  EXPECT_EQ(first_tokens(data).size(), 7u);
}

TEST(HeldOut, NeedsATokenForTheLastLabel) {
  const TemporaryFolder folder;
  Corpus::counting({{35}}).write(folder.path());
  HeldOut data(folder.path(), 1000, shape(1));
  EXPECT_EQ(first_tokens(data).back(), 25);
}

TEST(HeldOut, GivesNoMoreTokensThanAsked) {
  const TemporaryFolder folder;
  Corpus::counting({{200}}).write(folder.path());
  HeldOut data(folder.path(), 24, shape(3));
  EXPECT_EQ(first_tokens(data), (std::vector<int64_t>{0, 5, 10, 15}));
  expect_error([&] { HeldOut(folder.path(), 4, shape(1)); }, {"4 tokens", "sequence_length 5"});
}

TEST(HeldOut, RanksShareTheRows) {
  const TemporaryFolder folder;
  Corpus::counting({{36}}).write(folder.path());  // 7 rows
  for (const int64_t size : {1, 2, 3, 9}) {
    std::multiset<int64_t> all;
    for (int64_t rank = 0; rank < size; ++rank) {
      HeldOut data(folder.path(), 1000, shape(2, rank, size));
      for (const int64_t first : first_tokens(data)) all.insert(first);
    }
    EXPECT_EQ(all, (std::multiset<int64_t>{0, 5, 10, 15, 20, 25, 30}));
  }
}

TEST(HeldOut, MustBeSeparateFromWhatIsTrainedOn) {
  const TemporaryFolder folder;
  Corpus::counting({{20}, {30}}).write(folder / "train");
  Corpus::counting({{25}}, 500).write(folder / "held_out");
  Corpus::counting({{22}, {25}}, 478).write(folder / "overlapping");  // 00001 = held_out's 00000
  const auto check = [&](const std::string& held_out, const std::string& train) {
    const Prefetch training(std::make_unique<Mixture>(
        Mixture::Config{{{folder / "train"}, {folder / train}}, 0}, shape(1)));
    check_separate(TokenShards(folder / held_out), training);
  };
  check("held_out", "train");
  expect_error([&] { check("held_out", "overlapping"); },
               {"held-out data must be separate", "00000.tokens", "overlapping"});
  expect_error([&] { check("held_out", "held_out"); }, {"held-out data must be separate"});
  std::filesystem::create_directory_symlink(folder / "held_out", folder / "link");
  expect_error([&] { check("link", "held_out"); }, {"held-out data must be separate"});

  Corpus other = Corpus::counting({{25}}, 500);
  other.tokenizer = "another";
  other.write(folder / "held_out");
  expect_error([&] { check("held_out", "train"); }, {"different tokenizers"});
}

}  // namespace
}  // namespace wf

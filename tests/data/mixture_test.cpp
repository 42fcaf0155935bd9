#include "data/mixture.h"

#include <gtest/gtest.h>

#include <set>

#include "base/log.h"
#include "tests/base/temporary_folder.h"
#include "tests/data/corpus.h"
#include "tests/data/state.h"
#include "tests/io/expect_error.h"

namespace wf {
namespace {

using test::Corpus;
using test::expect_error;
using test::numbers;
using test::Saved;
using Rows = std::vector<std::vector<int64_t>>;  // tokens of each row

constexpr int64_t kVocab = 1 << 20;
constexpr int64_t kLength = 7;

class Mixtures : public testing::Test {
 protected:
  Mixtures() {
    log::set_narrating(false);
    Corpus::counting({{30, 9}, {12, 1, 25}, {40}}).write(a());  // 117 tokens
    Corpus::counting({{50}, {3, 3, 3}}, 1000).write(b());       // 59 tokens
  }
  ~Mixtures() override { log::set_narrating(true); }
  std::string a() const { return folder_ / "a"; }
  std::string b() const { return folder_ / "b"; }
  Mixture::Config one() const { return {{{a()}}, 11}; }
  Mixture::Config both() const { return {{{a(), 3}, {b(), 1}}, 11}; }

  const TemporaryFolder folder_;
};

DataShape shape(int64_t batch_size, int64_t rank = 0, int64_t size = 1) {
  return {.batch_size = batch_size,
          .sequence_length = kLength,
          .rank = rank,
          .size = size,
          .vocab_size = kVocab};
}

Rows rows_of(const Batch& batch) {
  Rows rows;
  for (int64_t i = 0; i < batch.tokens.size(0); ++i) rows.push_back(numbers(batch.tokens[i]));
  return rows;
}

// All ranks of one run, their rows put back into the global order.
class Ranks {
 public:
  Ranks(const Mixture::Config& config, int64_t batch_size, int64_t size) {
    for (int64_t rank = 0; rank < size; ++rank)
      all_.emplace_back(config, shape(batch_size, rank, size));
  }
  Rows next() {
    std::vector<Rows> parts;
    for (Mixture& rank : all_) parts.push_back(rows_of(rank.next()));
    Rows global;
    for (std::size_t i = 0; i < parts.front().size(); ++i)
      for (const Rows& part : parts) global.push_back(part[i]);
    return global;
  }
  Rows take(std::size_t count) {  // rows; a multiple of the global batch
    Rows rows;
    while (rows.size() < count)
      for (auto& row : next()) rows.push_back(row);
    EXPECT_EQ(rows.size(), count);
    return rows;
  }
  std::vector<Mixture> all_;
};

TEST_F(Mixtures, EveryTokenOfAnEpochIsSeenOnceWhateverTheNumberOfRanks) {
  for (const int64_t size : {1, 2, 3}) {
    Ranks ranks(one(), 1, size);
    const Rows rows = ranks.take(120);
    std::size_t at = 0;
    for (int epoch = 0; epoch < 6; ++epoch) {
      std::set<int64_t> seen;  // until a token comes again: the next epoch's first row
      while (!seen.contains(rows[at].front()) && !seen.contains(rows[at].back())) {
        for (const int64_t token : rows[at]) EXPECT_TRUE(seen.insert(token).second);
        ++at;
      }
      const int64_t first = *seen.begin(), last = *seen.rbegin();
      EXPECT_EQ(last - first + 1, int64_t(seen.size())) << "tokens between were not seen";
      EXPECT_LT(first, kLength);
      EXPECT_GE(last + 1 + kLength, 117 - 1) << "one more row would have fitted";
    }
  }
}

TEST_F(Mixtures, TheGlobalOrderDoesNotDependOnTheNumberOfRanks) {
  const Rows expected = Ranks(both(), 6, 1).take(600);
  EXPECT_EQ(Ranks(both(), 3, 2).take(600), expected);
  EXPECT_EQ(Ranks(both(), 2, 3).take(600), expected);
  EXPECT_EQ(Ranks(both(), 1, 1).take(600), expected);
  Mixture::Config other = both();
  other.seed = 12;
  EXPECT_NE(Ranks(other, 6, 1).take(600), expected);
}

TEST_F(Mixtures, SourcesComeInProportionToTheirWeights) {
  const Rows rows = Ranks(both(), 40, 1).take(4000);
  int64_t from_a = 0;
  for (const auto& row : rows) from_a += row.front() < 1000;
  EXPECT_NEAR(from_a / 4000.0, 0.75, 0.03);  // 4 standard deviations
  int64_t changes = 0;
  for (std::size_t i = 1; i < rows.size(); ++i)
    changes += (rows[i].front() < 1000) != (rows[i - 1].front() < 1000);
  EXPECT_NEAR(changes / 3999.0, 2 * 0.75 * 0.25, 0.03);  // drawn row by row, independently
}

// 117 and 59 tokens: the first 100 batches cross every shard and many epochs of both sources.
TEST_F(Mixtures, ResumesExactlyAnywhere) {
  const Rows expected = Ranks(both(), 3, 1).take(300);
  for (int64_t stop = 0; stop < 60; ++stop) {
    Mixture before(both(), shape(3));
    for (int64_t i = 0; i < stop; ++i) before.next();
    Mixture after(both(), shape(3));
    Saved(before).load_into(after);
    for (int64_t i = stop; i < stop + 40; ++i)
      EXPECT_EQ(rows_of(after.next()),
                Rows(expected.begin() + 3 * i, expected.begin() + 3 * i + 3));
  }
}

TEST_F(Mixtures, ResumesTheSameGlobalOrderWithAnotherNumberOfRanks) {
  const Rows expected = Ranks(both(), 1, 1).take(400);
  Ranks before(both(), 5, 2);
  before.take(70);
  Ranks after(both(), 2, 3);
  for (Mixture& rank : after.all_) Saved(before.all_[0]).load_into(rank);
  EXPECT_EQ(after.take(120), Rows(expected.begin() + 70, expected.begin() + 190));
}

TEST_F(Mixtures, ASecondEpochIsReportedOnce) {
  Mixture mixture(one(), shape(1));
  log::set_narrating(true);
  testing::internal::CaptureStderr();
  for (int i = 0; i < 100; ++i) mixture.next();
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find(a() + ": first epoch over (rows: 16)"), std::string::npos) << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
}

TEST_F(Mixtures, ARowLongerThanACorpusIsRefused) {
  DataShape too_long = shape(1);
  too_long.sequence_length = 59;
  expect_error([&] { Mixture(both(), too_long); }, {b(), "has 59 tokens", "needs 60"});
}

TEST_F(Mixtures, TheShortestPossibleCorpusGivesItsOneRowForEver) {
  DataShape longest = shape(2);
  longest.sequence_length = 58;
  Mixture mixture({{{b()}}, 0}, longest);
  for (int i = 0; i < 5; ++i)
    for (const auto& row : rows_of(mixture.next())) EXPECT_EQ(row.front(), 1000);
}

TEST_F(Mixtures, SourcesOfDifferentTokenizersAreRefused) {
  Corpus other = Corpus::counting({{50}});
  other.tokenizer = "another tokenizer";
  other.write(b());
  expect_error([&] { Mixture(both(), shape(1)); }, {a(), b(), "different tokenizers"});
}

TEST_F(Mixtures, ResumingWithOtherDataOrRowsIsRefused) {
  Mixture before(both(), shape(1));
  Saved saved(before);
  Corpus::counting({{50}}, 1000).write(b());
  Mixture after(both(), shape(1));
  expect_error([&] { saved.load_into(after); }, {b(), "has 50 tokens, it had 59"});

  DataShape longer = shape(1);
  longer.sequence_length = 8;
  Mixture other(both(), longer);
  expect_error([&] { saved.load_into(other); }, {"rows of 7 tokens", "sequence_length is 8"});
}

}  // namespace
}  // namespace wf

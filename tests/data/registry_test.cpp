#include "data/registry.h"

#include <gtest/gtest.h>

#include "config/load.h"
#include "tests/base/temporary_folder.h"
#include "tests/data/corpus.h"
#include "tests/data/state.h"
#include "tests/io/expect_error.h"

namespace wf {
namespace {

using test::Corpus;
using test::numbers;

struct Settings {
  config::Choice<data_sources> data{"shards"};
  static constexpr auto fields() {
    return config::fields<Settings>(config::field<&Settings::data>("what to train on"));
  }
};

DataShape shape(int64_t rank = 0, int64_t size = 1) {
  return {.batch_size = 4, .sequence_length = 16, .rank = rank, .size = size, .vocab_size = 50};
}

TEST(DataSources, AMixtureIsReadFromYaml) {
  const TemporaryFolder folder;
  Corpus a = Corpus::counting({{40}});
  a.vocab_size = 50;
  a.write(folder / "a");
  const auto run = config::parse<Settings>(fmt::format(
      "data:\n  kind: shards\n  seed: 3\n  sources:\n    - path: {0}\n      weight: 2\n    - path: "
      "{0}\n",
      (folder / "a").string()));
  const auto source = run.data.build(shape());
  EXPECT_EQ(source->next().tokens.size(0), 4);
  EXPECT_EQ(source->corpora().size(), 2u);
}

TEST(DataSources, AMixtureNeedsAPathAndAPositiveWeight) {
  test::expect_error(
      [] { config::parse<Settings>("data:\n  sources:\n    - weight: 0\n"); },
      {"data.sources[0].path: required", "data.sources[0].weight: expected a value > 0"});
  test::expect_error([] { config::parse<Settings>("data:\n  kind: shards\n"); }, {"data.sources"});
}

TEST(Synthetic, RowsHoldTheDocumentsAskedForAndIdsOfTheModel) {
  const auto run = config::parse<Settings>("data:\n  kind: synthetic\n  documents_per_row: 3\n");
  const Batch batch = run.data.build(shape())->next();
  EXPECT_EQ(numbers(batch.starts),
            (std::vector<int64_t>{0, 5, 10, 16, 21, 26, 32, 37, 42, 48, 53, 58, 64}));
  EXPECT_LT(batch.tokens.max().item<int64_t>(), 50);
  EXPECT_GE(batch.tokens.min().item<int64_t>(), 0);
  EXPECT_EQ(batch.valid_labels, 4 * 14);
  EXPECT_TRUE(
      config::parse<Settings>("data: {kind: synthetic}\n").data.build(shape())->next().plain());
}

TEST(Synthetic, RanksShareOneOrderAndResume) {
  const auto run = config::parse<Settings>("data: {kind: synthetic}\n");
  const auto all = run.data.build(shape());
  const Batch first = all->next(), second = all->next();
  DataShape half = shape(1, 2);
  half.batch_size = 2;
  const auto odd = run.data.build(half);
  EXPECT_EQ(numbers(odd->next().tokens[1]), numbers(first.tokens[3]));
  const auto resumed = run.data.build(half);
  test::Saved(*odd).load_into(*resumed);
  EXPECT_EQ(numbers(resumed->next().tokens[0]), numbers(second.tokens[1]));
}

TEST(Synthetic, MoreDocumentsThanTokensAreRefused) {
  const auto run = config::parse<Settings>("data: {kind: synthetic, documents_per_row: 17}\n");
  test::expect_error([&] { run.data.build(shape()); }, {"documents_per_row is 17", "16 tokens"});
}

}  // namespace
}  // namespace wf

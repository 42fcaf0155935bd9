#include "data/packer.h"

#include <gtest/gtest.h>

#include <random>

#include "data/token_shards.h"
#include "tests/base/temporary_folder.h"
#include "tests/data/corpus.h"

namespace wf {
namespace {

using test::Corpus;
using test::numbers;

using Numbers = std::vector<int64_t>;

TEST(Packing, LabelsAcrossADocumentBoundaryAreIgnored) {
  Packer packer(1, 6);
  packer.add(Numbers{10, 11, 12, 20, 21, 22, 23}, Numbers{3});
  const Batch batch = packer.finish();
  EXPECT_EQ(numbers(batch.tokens), (Numbers{10, 11, 12, 20, 21, 22}));
  EXPECT_EQ(numbers(batch.labels), (Numbers{11, 12, -100, 21, 22, 23}));
  EXPECT_EQ(numbers(batch.positions), (Numbers{0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(numbers(batch.starts), (Numbers{0, 3, 6}));
  EXPECT_EQ(batch.longest, 3);
  EXPECT_EQ(batch.valid_labels, 5);
  EXPECT_FALSE(batch.plain());
}

TEST(Packing, TheLastLabelIsIgnoredWhenTheNextTokenOpensADocument) {
  Packer packer(1, 3);
  packer.add(Numbers{10, 11, 12, 20}, Numbers{3});
  const Batch batch = packer.finish();
  EXPECT_EQ(numbers(batch.labels), (Numbers{11, 12, -100}));
  EXPECT_EQ(numbers(batch.starts), (Numbers{0, 3}));
  EXPECT_EQ(batch.valid_labels, 2);
  EXPECT_TRUE(batch.plain());
}

TEST(Packing, TypesAndShapesAreAsTheBatchSays) {
  Packer packer(2, 3);
  packer.add(Numbers{1, 2, 3, 4}, {});
  packer.add(Numbers{5, 6, 7, 8}, Numbers{1, 2, 3});
  const Batch batch = packer.finish();
  for (const auto& tensor : {batch.tokens, batch.labels, batch.positions}) {
    EXPECT_EQ(tensor.sizes(), (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(tensor.scalar_type(), torch::kInt64);
  }
  EXPECT_EQ(batch.starts.scalar_type(), torch::kInt32);
  EXPECT_EQ(numbers(batch.starts), (Numbers{0, 3, 4, 5, 6}));
  EXPECT_EQ(numbers(batch.device_starts), numbers(batch.starts));
  EXPECT_EQ(batch.longest, 3);
  EXPECT_EQ(batch.valid_labels, 3);
}

// Every row of random corpora against the definition, token by token.
TEST(Packing, EveryRowIsWhatTheDefinitionSays) {
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::vector<int64_t>> lengths(1 + random() % 4);
    for (auto& shard : lengths)
      for (auto count = random() % 6; count > 0; --count) shard.push_back(1 + random() % 9);
    lengths.front().push_back(12);
    Corpus corpus = Corpus::counting(lengths);
    const TemporaryFolder folder;
    corpus.write(folder.path());
    const TokenShards shards(folder.path());
    const auto stream = corpus.stream();
    const int64_t length = 1 + random() % 8;

    for (int64_t first = 0; first + length < static_cast<int64_t>(stream.size()); ++first) {
      Packer packer(1, length);
      packer.add(shards, first);
      const Batch batch = packer.finish();
      Numbers tokens, labels, positions, starts;
      int64_t valid = 0, longest = 0;
      for (int64_t t = 0; t < length; ++t) {
        const auto &here = stream[first + t], &next = stream[first + t + 1];
        const bool opens = t == 0 || stream[first + t - 1].document != here.document;
        if (opens) starts.push_back(t);
        tokens.push_back(here.token);
        labels.push_back(next.document == here.document ? next.token : -100);
        positions.push_back(opens ? 0 : positions.back() + 1);
        valid += labels.back() != -100;
        longest = std::max(longest, positions.back() + 1);
      }
      starts.push_back(length);
      EXPECT_EQ(numbers(batch.tokens), tokens);
      EXPECT_EQ(numbers(batch.labels), labels);
      EXPECT_EQ(numbers(batch.positions), positions);
      EXPECT_EQ(numbers(batch.starts), starts);
      EXPECT_EQ(batch.valid_labels, valid);
      EXPECT_EQ(batch.longest, longest);
    }
  }
}

TEST(Packing, MovingABatchKeepsStartsOnTheHost) {
  Packer packer(1, 3);
  packer.add(Numbers{1, 2, 3, 4}, Numbers{1});
  const Batch batch = packer.finish();
  const Batch moved = batch.to(torch::kCPU);
  EXPECT_EQ(numbers(moved.tokens), numbers(batch.tokens));
  EXPECT_EQ(numbers(moved.device_starts), (Numbers{0, 1, 3}));
  EXPECT_TRUE(moved.starts.is_cpu());
  EXPECT_EQ(moved.valid_labels, 2);
}

}  // namespace
}  // namespace wf

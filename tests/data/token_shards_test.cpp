#include "data/token_shards.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "tests/base/temporary_folder.h"
#include "tests/data/corpus.h"
#include "tests/io/expect_error.h"
#include "tests/io/python.h"

namespace wf {
namespace {

namespace fs = std::filesystem;
using test::Corpus;
using test::expect_error;

std::vector<int64_t> read(const TokenShards& shards, int64_t first, int64_t count) {
  std::vector<int64_t> out(count);
  shards.read(first, out);
  return out;
}

std::vector<int64_t> starts(const TokenShards& shards, int64_t first, int64_t last) {
  std::vector<int64_t> out;
  shards.document_starts(first, last, out);
  return out;
}

TEST(TokenShards, AreOneStreamAcrossFiles) {
  const TemporaryFolder folder;
  Corpus::counting({{3, 2}, {}, {4}, {1, 1}}, 100).write(folder.path());
  const TokenShards shards(folder.path());
  EXPECT_EQ(shards.tokens(), 11);
  EXPECT_EQ(shards.manifest().documents, 5);
  EXPECT_EQ(read(shards, 4, 6), (std::vector<int64_t>{104, 105, 106, 107, 108, 109}));
  EXPECT_EQ(read(shards, 0, 11).back(), 110);
  EXPECT_EQ(starts(shards, 0, 11), (std::vector<int64_t>{0, 3, 5, 9, 10}));
  EXPECT_EQ(starts(shards, 4, 10), (std::vector<int64_t>{1, 5}));
  EXPECT_EQ(starts(shards, 6, 9), std::vector<int64_t>{});
}

// NumPy writes, we read: both widths, ids above their signed ranges.
TEST(TokenShards, ReadWhatNumPyWrote) {
  for (const std::string dtype : {"uint16", "uint32"}) {
    const TemporaryFolder folder;
    const std::string printed = test::python("dtype = '" + dtype + "'" + R"(
import json
import numpy as np

top = np.iinfo(dtype).max
rng = np.random.default_rng(3)
shards, lines = [], []
for number, lengths in enumerate([[5, 1, 9], [7], [2, 2]]):
    tokens = rng.integers(0, top, sum(lengths), endpoint=True).astype(np.dtype(dtype).newbyteorder("<"))
    tokens[-1] = top
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype("<u8")
    tokens.tofile(f"{number}.t")
    offsets.tofile(f"{number}.d")
    shards.append(dict(tokens_file=f"{number}.t", documents_file=f"{number}.d", tokens=len(tokens),
                       documents=len(lengths), tokens_sha256=str(number)))
    lines += tokens.tolist()
json.dump(dict(format="wf-tokens", version=1, dtype=dtype, vocab_size=top + 1, eos_token_id=0,
               tokens=len(lines), documents=6, tokenizer_sha256="", shards=shards),
          open("manifest.json", "w"))
print(*lines)
)",
                                             folder.path());
    const TokenShards shards(folder.path());
    EXPECT_EQ(fmt::format("{}\n", fmt::join(read(shards, 0, shards.tokens()), " ")), printed);
    EXPECT_EQ(starts(shards, 0, shards.tokens()), (std::vector<int64_t>{0, 5, 6, 15, 22, 24}));
  }
}

class DamagedFolder : public testing::Test {
 protected:
  DamagedFolder() { Corpus::counting({{3, 2}, {4}}).write(folder_.path()); }

  void expect(const std::initializer_list<std::string>& parts) {
    expect_error([&] { TokenShards{folder_.path()}; }, parts);
  }
  void edit(const std::string& from, const std::string& to) {
    std::string text = read_text(folder_ / "manifest.json");
    const auto at = text.find(from);
    ASSERT_NE(at, std::string::npos) << text;
    write_text(folder_ / "manifest.json", text.replace(at, from.size(), to));
  }
  void overwrite(const std::string& name, int64_t at, char byte) {
    std::fstream file(folder_ / name, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file.put(byte);
  }
  const TemporaryFolder folder_;
};

TEST_F(DamagedFolder, AFolderWithoutManifestWasNotPrepared) {
  fs::remove(folder_ / "manifest.json");
  expect({folder_.path().string(), "no manifest.json", "wf data prepare"});
}

TEST_F(DamagedFolder, AManifestThatIsNotJsonNamesItself) {
  write_text(folder_ / "manifest.json", "{\"format\": ");
  expect({"manifest.json: not valid JSON"});
}

TEST_F(DamagedFolder, AnotherFormatVersionOrDtypeIsRefused) {
  edit("\"version\":1", "\"version\":2");
  expect({"'wf-tokens' version 2", "reads 'wf-tokens' version 1"});
  edit("\"version\":2", "\"version\":1");
  edit("uint32", "int64");
  expect({"dtype 'int64', expected uint16 or uint32"});
}

TEST_F(DamagedFolder, AMissingOrNegativeEntryIsNamed) {
  edit("\"vocab_size\"", "\"vocab\"");
  expect({"'vocab_size' is missing"});
  edit("\"vocab\"", "\"vocab_size\"");
  edit("\"tokens\":5", "\"tokens\":-5");
  expect({"tokens is -5"});
}

// 2^61 offsets of 8 bytes wrap to none, which is what an empty file has.
TEST_F(DamagedFolder, ACountWhoseBytesWrapIsNamed) {
  edit("\"documents\":2,", "\"documents\":2305843009213693951,");
  edit("\"documents\":3,", "\"documents\":2305843009213693952,");
  fs::resize_file(folder_ / "00000.documents", 0);
  expect({"documents is 2305843009213693952", "damaged"});
}

TEST_F(DamagedFolder, TotalsThatDisagreeWithTheShardsAreRefused) {
  edit("\"tokens\":9", "\"tokens\":10");
  expect({"the shards add up to 9 tokens and 3 documents, the totals say 10 and 3"});
}

TEST_F(DamagedFolder, AnEosBeyondTheVocabularyIsRefused) {
  edit("\"eos_token_id\":0", "\"eos_token_id\":1048576");
  expect({"eos_token_id 1048576 is not below vocab_size 1048576"});
}

TEST_F(DamagedFolder, AMissingFileIsNamed) {
  fs::remove(folder_ / "00001.documents");
  expect({"00001.documents: is missing"});
}

TEST_F(DamagedFolder, ATruncatedFileIsNamedWithBothSizes) {
  fs::resize_file(folder_ / "00000.tokens", 19);
  expect({"00000.tokens: has 19 bytes, the manifest says 20"});
}

TEST_F(DamagedFolder, OffsetsThatDoNotSpanTheShardAreRefused) {
  overwrite("00000.documents", 16, 4);
  expect({"00000.documents: offsets go from 0 to 4, expected 0 to 5"});
  overwrite("00000.documents", 16, 5);
  overwrite("00000.documents", 0, 1);
  expect({"00000.documents: offsets go from 1 to 5, expected 0 to 5"});
}

TEST_F(DamagedFolder, OffsetsThatFallAreFoundWhenTheyAreRead) {
  Corpus::counting({{3, 2, 2}}).write(folder_.path());
  overwrite("00000.documents", 16, 3);
  const TokenShards shards(folder_.path());
  expect_error([&] { starts(shards, 0, 7); }, {"00000.documents: offsets do not rise"});
}

TEST_F(DamagedFolder, AnOffsetBeyondTheShardIsFoundWhenItIsRead) {
  Corpus::counting({{3}, {2, 2, 2}}).write(folder_.path());
  overwrite("00001.documents", 16 + 7, 0x7F);
  const TokenShards shards(folder_.path());
  expect_error([&] { starts(shards, 0, 9); }, {"00001.documents: offsets do not rise"});
}

TEST_F(DamagedFolder, AnIdBeyondTheVocabularyIsFoundWhenItIsRead) {
  overwrite("00001.tokens", 2 * 4 + 3, 1);  // adds 2^24 to the third token
  const TokenShards shards(folder_.path());
  EXPECT_EQ(read(shards, 0, 7).size(), 7u);
  expect_error([&] { read(shards, 3, 5); }, {"00001.tokens: holds token id 16777223", "1048576"});
}

TEST(TokenShards, ACorpusShorterThanARowSaysHowManyTokensItHas) {
  const TemporaryFolder folder;
  Corpus::counting({{5, 3}}).write(folder.path());
  const TokenShards shards(folder.path());
  shards.check_fits({.sequence_length = 7, .vocab_size = 1 << 20});
  expect_error([&] { shards.check_fits({.sequence_length = 8, .vocab_size = 1 << 20}); },
               {folder.path().string(), "has 8 tokens", "sequence_length 8 needs 9"});
}

TEST(TokenShards, AVocabularyLargerThanTheModelsIsRefused) {
  const TemporaryFolder folder;
  Corpus::counting({{5, 3}}).write(folder.path());
  expect_error(
      [&] { TokenShards(folder.path()).check_fits({.sequence_length = 2, .vocab_size = 1000}); },
      {"vocabulary of 1048576", "embeddings for 1000"});
}

}  // namespace
}  // namespace wf

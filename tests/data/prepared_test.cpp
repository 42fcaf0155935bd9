// `wf data prepare` and the trainer mean the same by a prepared folder.
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "data/token_shards.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/python.h"

namespace wf {
namespace {

TEST(TokenShards, AreWhatTheTokenizerSaysAfterWfDataPrepare) {
  const TemporaryFolder folder;
  const std::string expected = test::python(R"(
import json, subprocess, sys
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

texts = [f"Document {i} " + "of words and more words " * (i % 7) for i in range(60)]
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
alphabet = pre_tokenizers.ByteLevel.alphabet()
tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
    vocab_size=280, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False))
tokenizer.save("tokenizer.json")
json.dump({"eos_token": "<eos>"}, open("tokenizer_config.json", "w"))
with open("texts.jsonl", "w") as file:
    file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
subprocess.run([sys.executable, "-m", "wf", "data", "prepare", "--tokenizer", ".", "-o", "out",
                "--workers", "1", "--shard-tokens", "200", "texts.jsonl"],
               check=True, capture_output=True)
stream, starts = [], []
for text in texts:
    starts.append(len(stream))
    stream += tokenizer.encode(text).ids + [tokenizer.token_to_id("<eos>")]
print(*stream)
print(*starts)
)",
                                            folder.path());
  const TokenShards shards(folder / "out");
  EXPECT_GT(shards.manifest().shards.size(), 2u);
  std::vector<int64_t> stream(shards.tokens()), starts;
  shards.read(0, stream);
  shards.document_starts(0, shards.tokens(), starts);
  EXPECT_EQ(fmt::format("{}\n{}\n", fmt::join(stream, " "), fmt::join(starts, " ")), expected);
}

}  // namespace
}  // namespace wf

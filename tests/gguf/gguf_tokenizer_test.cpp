// Token ids of the real llama.cpp, from the keys written here, against Hugging Face's own.
#include "gguf/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "formats/json.h"
#include "gguf/gguf_write.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/expect_error.h"
#include "tests/io/python.h"

namespace wf {
namespace {

namespace fs = std::filesystem;

// A file of the tokenizer alone, which llama.cpp opens as such.
void write_vocabulary(const fs::path& file, const GgufTokenizer& tokenizer) {
  GgufMetadata metadata;
  metadata.set("general.architecture", std::string("llama"));
  write_metadata(tokenizer, metadata);
  GgufWriter(file, metadata, {}).finish(false);
}

std::string script(const std::string& name) {
  return std::string("import sys\nsys.path[:0] = ['" WF_SOURCE_DIR "/launch', '" WF_SOURCE_DIR
                     "/tests/gguf']\nimport tiny_tokenizers\ntiny_tokenizers.") +
         name + "\n";
}

int64_t count_of(const fs::path& folder) {
  return std::stoll(test::python(script("count()"), folder));
}

// Every text's ids by llama.cpp and by Hugging Face are equal; says which was chosen.
GgufTokenizer expect_same_ids(const fs::path& folder, int64_t padding = 0) {
  const auto tokenizer = read_gguf_tokenizer(folder, count_of(folder) + padding);
  write_vocabulary(folder / "vocabulary.gguf", tokenizer);
  EXPECT_EQ(test::python(script("compare()"), folder), "same\n");
  return tokenizer;
}

class Trained : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(Trained, HasHuggingFacesIds) {
  const auto [kind, pre] = GetParam();
  TemporaryFolder folder;
  test::python(script(std::string("train('") + kind + "')"), folder.path());
  const auto tokenizer = expect_same_ids(folder.path(), 5);
  EXPECT_EQ(tokenizer.pre, pre);
  EXPECT_EQ(tokenizer.tokens.back(), fmt::format("[PAD{}]", tokenizer.tokens.size() - 1));
  EXPECT_EQ(tokenizer.types.back(), GgufTokenizer::kUnused);
  for (std::size_t i = 0; i < tokenizer.tokens.size(); ++i) {  // else they are written as "<0x0A>"
    if (!tokenizer.tokens[i].starts_with("<0x")) continue;
    EXPECT_EQ(tokenizer.types[i], GgufTokenizer::kByte);
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, Trained,
                         testing::Values(std::pair{"gpt-2", "gpt-2"}, std::pair{"smollm", "smollm"},
                                         std::pair{"llama-bpe", "llama-bpe"},
                                         std::pair{"smaug-bpe", "smaug-bpe"},
                                         std::pair{"qwen2", "qwen2"},
                                         std::pair{"sentencepiece", "default"},
                                         std::pair{"sentencepiece-json", "default"},
                                         std::pair{"metaspace-json", "default"}),
                         [](const auto& info) {
                           std::string name = info.param.first;
                           std::erase(name, '-');
                           return name;
                         });

TEST(GgufTokenizer, WithoutATemplateThereIsNoBosWhateverLlamaCppsDefault) {
  TemporaryFolder folder;
  test::python(script("train('llama-bpe')"), folder.path());
  const fs::path file = folder.path() / "tokenizer.json";
  auto tokenizer = read_json(file);
  tokenizer.erase("post_processor");
  write_json(file, tokenizer);
  EXPECT_FALSE(expect_same_ids(folder.path()).add_bos);
}

class Published : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(Published, HasHuggingFacesIds) {
  const auto [name, pre] = GetParam();
  const char* data = std::getenv("WF_TEST_DATA");
  const fs::path published = fs::path(data ? data : "WF_TEST_DATA") / "tokenizers" / name;
  if (!fs::is_directory(published))
    GTEST_SKIP() << published << " is missing; tests/gguf/published_tokenizer.py makes it";
  TemporaryFolder folder;
  fs::copy(published, folder.path(), fs::copy_options::recursive);
  EXPECT_EQ(expect_same_ids(folder.path(), 64).pre, pre);
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, Published,
                         testing::Values(std::pair{"gpt2", "gpt-2"}, std::pair{"qwen2", "qwen2"},
                                         std::pair{"smollm2", "smollm"},
                                         std::pair{"llama3", "llama-bpe"},
                                         std::pair{"llama2", "default"}),
                         [](const auto& info) { return info.param.first; });

struct Variant : testing::Test {
  TemporaryFolder folder;
  nlohmann::json tokenizer, config;

  void SetUp() override {
    test::python(script("train('gpt-2')"), folder.path());
    tokenizer = read_json(folder.path() / "tokenizer.json");
    config = read_json(folder.path() / "tokenizer_config.json");
  }
  GgufTokenizer read(int64_t rows = 1000) {
    write_json(folder.path() / "tokenizer.json", tokenizer);
    write_json(folder.path() / "tokenizer_config.json", config);
    return read_gguf_tokenizer(folder.path(), rows);
  }
  void refused(const std::string& reason, int64_t rows = 1000) {
    test::expect_error([&] { read(rows); }, {reason});
  }
};

TEST_F(Variant, AddedTokensKeepTheirKind) {
  // Not marked as special, but written as such tokens are: llama.cpp's converters take it for one.
  tokenizer["added_tokens"].push_back(
      {{"id", 800}, {"content", "<|tool|>"}, {"special", false}, {"normalized", false}});
  const auto read_one = read();
  const auto type_of = [&](const std::string& token) {
    const auto found = std::ranges::find(read_one.tokens, token);
    return read_one.types[found - read_one.tokens.begin()];
  };
  EXPECT_EQ(type_of("<|end|>"), GgufTokenizer::kControl);
  EXPECT_EQ(type_of("<|tool|>"), GgufTokenizer::kControl);
  EXPECT_EQ(type_of("<tool>"), GgufTokenizer::kUserDefined);
  EXPECT_EQ(type_of("a"), GgufTokenizer::kNormal);
  EXPECT_EQ(read_one.chat_template, "{{ messages }}");
}

TEST_F(Variant, SeveralEndsOfTextAreEosEotAndEom) {
  write_json(folder.path() / "generation_config.json", {{"eos_token_id", {7, 0, 9}}});
  const auto special = read().special;
  EXPECT_EQ(special.at("eos"), 0u);
  EXPECT_EQ(special.at("eot"), 7u);
  EXPECT_EQ(special.at("eom"), 9u);
}

TEST_F(Variant, SpecialTokensAreNamedAsTextOrAsAnObject) {
  config["pad_token"] = "<tool>";
  config["mask_token"] = {{"content", "<tool>"}, {"special", true}};
  config["sep_token"] = nullptr;
  write_json(folder.path() / "special_tokens_map.json",
             {{"unk_token", "<|end|>"}, {"sep_token", "<tool>"}});
  const auto special = read().special;
  const uint32_t tool = tokenizer["added_tokens"].back()["id"];
  EXPECT_EQ(special, (std::map<std::string, uint32_t>{{"bos", 0},
                                                      {"eos", 0},
                                                      {"padding", tool},
                                                      {"mask", tool},
                                                      {"seperator", tool},
                                                      {"unknown", 0}}));
}

TEST_F(Variant, WithoutABosItIsNamedAllTheSame) {
  EXPECT_EQ(read().special.at("bos"), 0u);  // llama.cpp would take token 11
  EXPECT_FALSE(read().add_bos);
}

TEST_F(Variant, ATokenizerOfAnotherKindIsRefused) {
  auto original = tokenizer;
  tokenizer["pre_tokenizer"]["add_prefix_space"] = true;
  refused("none of llama.cpp's gpt-2, smollm, llama-bpe or qwen2");
  tokenizer = original;
  tokenizer["normalizer"] = {{"type", "Lowercase"}};
  refused("normalizer {\"type\":\"Lowercase\"} has no counterpart");
  tokenizer = original;
  tokenizer["model"]["ignore_merges"] = true;
  refused("ignore_merges true");
  tokenizer = original;
  tokenizer["model"]["type"] = "WordPiece";
  refused("a tokenizer of type 'WordPiece'");
  tokenizer = original;
  tokenizer["post_processor"] = {{"type", "RobertaProcessing"}};
  refused("post_processor RobertaProcessing");
  tokenizer = {{"model", {{"type", "BPE"}, {"vocab", 3}}}};
  refused("neither a byte-level BPE");
}

TEST_F(Variant, ATokenizerOfAnotherModelIsRefused) {
  refused("the model has 100 rows of embeddings", 100);
  config["eos_token"] = "</nowhere>";
  refused("eos_token is '</nowhere>', which is not in the vocabulary");
  config.erase("eos_token");
  refused("no file names the token that ends a text");
}

TEST(GgufTokenizer, AFolderWithoutOneHasIdsOnly) {
  TemporaryFolder folder;
  EXPECT_EQ(read_gguf_tokenizer(folder.path(), 64).model, "none");
}

TEST(GgufTokenizer, ATornSentencePieceModelIsRefused) {
  TemporaryFolder folder;
  test::python(script("train('sentencepiece')"), folder.path());
  const fs::path file = folder.path() / "tokenizer.model";
  fs::resize_file(file, fs::file_size(file) - 3);
  test::expect_error([&] { read_gguf_tokenizer(folder.path(), 1000); },
                     {"not a whole SentencePiece model"});
}

TEST(GgufTokenizer, MergesThatSentencePieceWouldExtendAreRefused) {
  TemporaryFolder folder;
  test::python(script("train('sentencepiece-json', complete=False)"), folder.path());
  test::expect_error([&] { read_gguf_tokenizer(folder.path(), 1000); },
                     {"which is not among the merges"});
}

}  // namespace
}  // namespace wf

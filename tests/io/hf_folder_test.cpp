#include "formats/hf_folder.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <fstream>

#include "formats/json.h"
#include "io/tensor_file.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/expect_error.h"
#include "tests/io/python.h"

namespace wf {
namespace {

namespace fs = std::filesystem;
using test::expect_error;

class HfFolderTest : public testing::Test {
 protected:
  HfFolderTest() { write_json(folder_ / "config.json", {{"model_type", "llama"}}); }
  void expect_refused(const std::initializer_list<std::string>& parts) {
    expect_error([&] { HfFolder opened(folder_.path()); }, parts);
  }
  // Twenty 40-byte tensors, named so that their order is their number.
  static std::vector<NamedTensor> weights() {
    std::vector<NamedTensor> weights;
    for (int i = 0; i < 20; ++i)
      weights.push_back({fmt::format("w{:02}", i), torch::full({10}, float(i))});
    return weights;
  }
  TemporaryFolder folder_;
};

TEST_F(HfFolderTest, OpensASingleFile) {
  write_hf_weights(folder_.path(), writable(weights()));
  const HfFolder folder(folder_.path());
  EXPECT_EQ(folder.config()["model_type"], "llama");
  EXPECT_EQ(folder.names().size(), 20u);
  EXPECT_EQ(as_torch(folder.tensor("w07"))[3].item<float>(), 7);
  EXPECT_FALSE(folder.contains("w20"));
  expect_error([&] { folder.tensor("w20"); }, {"has no tensor 'w20'"});
}

TEST_F(HfFolderTest, FindsTensorsAcrossShards) {
  write_hf_weights(folder_.path(), writable(weights()), 120);  // three tensors a shard
  EXPECT_TRUE(fs::exists(folder_ / "model-00007-of-00007.safetensors"));
  EXPECT_FALSE(fs::exists(folder_ / "model.safetensors"));
  const HfFolder folder(folder_.path());
  EXPECT_EQ(folder.names().size(), 20u);
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(as_torch(folder.tensor(fmt::format("w{:02}", i)))[9].item<float>(), i);
}

TEST_F(HfFolderTest, GivesATensorAboveTheLimitAShardOfItsOwn) {
  write_hf_weights(folder_.path(), writable({{"a", torch::ones(1)}, {"b", torch::ones(100)}}), 10);
  EXPECT_EQ(as_torch(HfFolder(folder_.path()).tensor("b")).numel(), 100);
}

TEST_F(HfFolderTest, ReadsTheShardsOfTransformersAndIsReadByIt) {
  const auto said = test::python(R"(
import torch, transformers
from transformers import LlamaConfig, LlamaForCausalLM
config = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                     num_attention_heads=2, tie_word_embeddings=False)
model = LlamaForCausalLM(config)
model.save_pretrained('theirs', max_shard_size='10KB')
print(len(model.state_dict()))
)",
                                 folder_.path());
  EXPECT_TRUE(fs::exists(folder_ / "theirs/model.safetensors.index.json"));
  const HfFolder theirs(folder_ / "theirs");
  EXPECT_EQ(theirs.names().size(), std::stoul(said));

  fs::create_directory(folder_ / "ours");
  write_json(folder_ / "ours/config.json", theirs.config());
  std::vector<NamedTensor> copied;
  for (const auto& name : theirs.names()) copied.push_back({name, as_torch(theirs.tensor(name))});
  write_hf_weights(folder_ / "ours", writable(copied), 9'000);
  EXPECT_TRUE(fs::exists(folder_ / "ours/model.safetensors.index.json"));
  test::python(R"(
import torch
from transformers import LlamaForCausalLM
theirs, ours = (LlamaForCausalLM.from_pretrained(p).state_dict() for p in ('theirs', 'ours'))
assert theirs.keys() == ours.keys() and all(torch.equal(theirs[n], ours[n]) for n in ours)
)",
               folder_.path());
}

TEST_F(HfFolderTest, SaysWhatAFolderLacks) {
  expect_refused({"neither model.safetensors nor model.safetensors.index.json"});
  expect_error([&] { HfFolder opened(folder_ / "nowhere"); }, {"nowhere: no such folder"});
  fs::remove(folder_ / "config.json");
  expect_refused({"has no config.json"});
  std::ofstream(folder_ / "config.json") << "{\"a\": ";
  expect_refused({"config.json: not valid JSON"});
}

TEST_F(HfFolderTest, LoadsNothingPickledAndSaysHowToConvertIt) {
  std::ofstream(folder_ / "pytorch_model.bin") << "anything";
  expect_refused({"pickled (pytorch_model.bin)", "can execute code", "save_pretrained"});
}

TEST_F(HfFolderTest, ReadsTheConfigWhereThereAreNoWeights) {
  EXPECT_EQ(read_hf_config(folder_.path())["model_type"], "llama");
}

TEST_F(HfFolderTest, NamesAMissingShard) {
  write_hf_weights(folder_.path(), writable(weights()), 400);
  fs::remove(folder_ / "model-00002-of-00002.safetensors");
  expect_refused({"names shard 'model-00002-of-00002.safetensors', which is missing"});
}

TEST_F(HfFolderTest, RefusesAnIndexThatDisagreesWithItsShards) {
  write_hf_weights(folder_.path(), writable(weights()), 400);
  const auto path = folder_ / "model.safetensors.index.json";
  const auto good = read_json(path);

  auto index = good;
  index["weight_map"]["w00"] = "model-00002-of-00002.safetensors";
  write_json(path, index);
  expect_refused({"places tensor 'w00' in 'model-00002-of-00002.safetensors', which does not"});

  index = good;
  index["weight_map"].erase("w03");
  write_json(path, index);
  expect_refused({"model-00001-of-00002.safetensors: holds tensor 'w03'", "does not place there"});

  index = good;
  index["weight_map"]["w00"] = "../model.safetensors";
  write_json(path, index);
  expect_refused({"'w00' is not mapped to a file name in the same folder"});

  write_json(path, {{"weight_map", {1, 2}}});
  expect_refused({"has no 'weight_map'"});
}

TEST_F(HfFolderTest, CarriesCompanionsAlong) {
  for (const char* name : {"tokenizer.json", "chat_template.jinja", "generation_config.json",
                           "README.md", "pytorch_model.bin"})
    std::ofstream(folder_ / name) << name;
  const TemporaryFolder to;
  std::ofstream(to / "tokenizer.json") << "an older one, and longer";
  copy_companions(folder_.path(), to.path());
  EXPECT_EQ(read_text(to / "tokenizer.json"), "tokenizer.json");
  EXPECT_TRUE(fs::exists(to / "chat_template.jinja"));
  EXPECT_TRUE(fs::exists(to / "generation_config.json"));
  EXPECT_FALSE(fs::exists(to / "config.json"));
  EXPECT_FALSE(fs::exists(to / "README.md"));
  EXPECT_FALSE(fs::exists(to / "pytorch_model.bin"));
}

}  // namespace
}  // namespace wf

// Exported folders, loaded by transformers: the class it should be, the codes exactly, the logits
// closely.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "exporter/hf_latent.h"
#include "exporter/hf_packed.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "io/tensor_file.h"
#include "model/load.h"
#include "model/packed_codes.h"
#include "ops/ternary.h"
#include "shape/family.h"
#include "shape/hf_config.h"
#include "tests/base/temporary_folder.h"
#include "tests/exporter/tiny_model.h"
#include "tests/io/expect_error.h"

namespace wf {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using torch::Tensor;

json base_config(const std::string& model_type) {
  return {{"model_type", model_type},
          {"architectures", {"Source"}},
          {"vocab_size", 80},
          {"hidden_size", 64},
          {"intermediate_size", 96},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 16},
          {"rms_norm_eps", 1e-5},
          {"max_position_embeddings", 64},
          {"rope_theta", 1000.0},
          {"bos_token_id", 1},
          {"eos_token_id", 2},
          {"pad_token_id", nullptr},
          {"initializer_range", 0.15},
          {"tie_word_embeddings", true}};
}

Tensor test_tokens() { return test::random_tokens(80, 40); }

Tensor our_logits(Decoder& model, double quant) {
  return logits_of(model, test_tokens(), quant, quant);
}

struct Loaded {
  Tensor logits;
  std::string class_name;
};

Loaded load_in_transformers(const fs::path& folder, const fs::path& scratch) {
  write_safetensors(scratch / "tokens.safetensors", {{"tokens", test_tokens()}});
  const fs::path out = scratch / "logits.safetensors";
  const std::string command = fmt::format(
      "{} {}/tests/exporter/transformers_logits.py {} {} {} 2>&1", WF_PYTHON, WF_SOURCE_DIR,
      folder.string(), (scratch / "tokens.safetensors").string(), out.string());
  if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
  const Safetensors file(out);
  return {as_torch(file.tensor("logits")).clone(), file.metadata().at("class")};
}

// fp32 sums in another order; quantised, a last bit can move an activation across a rounding tie,
// one int8 step.
constexpr double kFullTolerance = 1e-5, kTernaryTolerance = 2e-2;

struct Case {
  const char* name;
  const char* model_type;
  json changes;
  bool sub_norm;
  double quant;
  const char* expected_class;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class Export : public testing::TestWithParam<Case> {
 protected:
  Export() {
    json source = base_config(GetParam().model_type);
    source.update(GetParam().changes);
    model_ = test::tiny_model(source, GetParam().sub_norm, GetParam().quant);
    fs::create_directories(scratch_ / "source");
    write_json(scratch_ / "source" / "tokenizer.json", json::object());
  }
  Exported exported() const { return {*model_.decoder, model_.config, scratch_ / "source"}; }

  TemporaryFolder scratch_;
  test::TinyModel model_;
};

TEST_P(Export, LatentFolderGivesTheSameLogitsInTransformers) {
  const fs::path out = scratch_ / "latent";
  HfLatent({}).write(exported(), out);
  const Loaded loaded = load_in_transformers(out, scratch_.path());
  EXPECT_EQ(loaded.class_name, GetParam().expected_class);
  EXPECT_LE(test::relative_error(our_logits(*model_.decoder, GetParam().quant), loaded.logits),
            GetParam().quant == 1 ? kTernaryTolerance : kFullTolerance);
  EXPECT_TRUE(fs::exists(out / "tokenizer.json"));
  // And it is a model folder of ours again, bit for bit.
  const auto again = load_decoder(HfFolder(out), {});
  const auto before = model_.decoder->trained_parameters(), after = again->trained_parameters();
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i)
    EXPECT_TRUE(torch::equal(before[i].value, after[i].value)) << before[i].name;
}

TEST_P(Export, PackedFolderHoldsTheCodesExactlyAndGivesTheSameLogits) {
  const bool biased = model_.decoder->config().qkv_bias;  // transformers would scale the biases
  if (GetParam().quant != 1 || biased) {
    EXPECT_THROW(HfPacked({}).write(exported(), scratch_ / "packed"), Error);
    return;
  }
  const fs::path out = scratch_ / "packed";
  HfPacked({}).write(exported(), out);
  const HfFolder folder(out);
  for (const auto& [name, linear] : model_.decoder->bit_linears()) {
    const auto ternary = ops::ternarize(linear->weight);
    EXPECT_TRUE(
        torch::equal(unpack_codes(as_torch(folder.tensor(name + ".weight"))), ternary.codes))
        << name;
    EXPECT_EQ(as_torch(folder.tensor(name + ".weight_scale")).item<float>(),
              ternary.scale.item<float>())
        << name;
  }
  const Loaded loaded = load_in_transformers(out, scratch_.path());
  EXPECT_EQ(loaded.class_name, GetParam().expected_class);
  EXPECT_LE(test::relative_error(our_logits(*model_.decoder, 1), loaded.logits), kTernaryTolerance);
  // What is evaluated is what is exported (mistake 6): our forward of the packed folder is our
  // forward, bit for bit.
  EXPECT_TRUE(
      torch::equal(our_logits(*load_decoder(folder, {}), 1), our_logits(*model_.decoder, 1)));
  // Training can go on from it: the same codes and Δ come back.
  const auto again = load_decoder(folder, {})->bit_linears();
  for (size_t i = 0; i < again.size(); ++i) {
    const auto before = ops::ternarize(model_.decoder->bit_linears()[i].second->weight);
    const auto after = ops::ternarize(again[i].second->weight);
    EXPECT_TRUE(torch::equal(before.codes, after.codes));
    EXPECT_EQ(before.scale.item<float>(), after.scale.item<float>());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, Export,
    testing::Values(
        Case{"bitnet_of_llama", "llama", json::object(), true, 1, "BitNetForCausalLM"},
        Case{"bitnet_relu2", "bitnet", {{"hidden_act", "relu2"}}, false, 1, "BitNetForCausalLM"},
        Case{"llama_without_subln", "llama", json::object(), false, 1, "LlamaForCausalLM"},
        Case{"qwen3_subln", "qwen3", {{"head_dim", 32}}, true, 1, "SubLNForCausalLM"},
        Case{"qwen2_subln", "qwen2", json::object(), true, 1, "SubLNForCausalLM"},
        Case{"qwen3_full_precision", "qwen3", json::object(), false, 0, "Qwen3ForCausalLM"},
        Case{"llama_subln_full_precision",
             "llama",
             {{"attention_bias", true}},
             true,
             0,
             "SubLNForCausalLM"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Export, RefusesAModelBetweenFullPrecisionAndTernary) {  // mistake 9
  const TemporaryFolder scratch;
  const test::TinyModel model = test::tiny_model(base_config("llama"), true, 0.5);
  const Exported exported{*model.decoder, model.config, scratch.path()};
  EXPECT_THROW(HfLatent({}).write(exported, scratch / "out"), Error);
  EXPECT_THROW(HfPacked({}).write(exported, scratch / "out"), Error);
  EXPECT_FALSE(fs::exists(scratch / "out"));
}

TEST(Export, RefusesTernaryWeightsThatWereTrainedWithoutTernaryModelsActivations) {
  const TemporaryFolder scratch;
  test::TinyModel model = test::tiny_model(base_config("llama"), true, 1);
  for (const auto& [weights, activations] : {std::pair{1.0, 0.0}, {0.0, 1.0}}) {
    model.config["wrinklefree"] = {{"weight_quant", weights}, {"activation_quant", activations}};
    const Exported exported{*model.decoder, model.config, scratch.path()};
    test::expect_error([&] { HfLatent({}).write(exported, scratch / "out"); },
                       {"for weights and", "for activations"});
    EXPECT_THROW(HfPacked({}).write(exported, scratch / "out"), Error);
  }
}

// bf16 masters: transformers loads them, and what the log says has changed is what has.
TEST(Export, Bf16MastersTellHowManyCodesTheyChange) {
  const TemporaryFolder scratch;
  const test::TinyModel model = test::tiny_model(base_config("llama"), true, 1);
  testing::internal::CaptureStderr();
  HfLatent({.dtype = FloatType::kBf16})
      .write({*model.decoder, model.config, scratch.path()}, scratch / "out");
  const std::string told = testing::internal::GetCapturedStderr();

  int64_t changed = 0, all = 0;
  const HfFolder folder(scratch / "out");
  for (const auto& [name, linear] : model.decoder->bit_linears()) {
    const Tensor stored = as_torch(folder.tensor(name + ".weight"));
    EXPECT_EQ(stored.scalar_type(), torch::kBFloat16);
    const auto codes = [](const Tensor& w) {
      return (w / w.abs().mean(torch::kDouble)).round().clamp(-1, 1);
    };
    const Tensor master = linear->weight.detach().to(torch::kDouble);
    changed += codes(master).ne(codes(stored.to(torch::kDouble))).sum().item<int64_t>();
    all += master.numel();
  }
  EXPECT_GT(changed, 0);
  EXPECT_NE(told.find(fmt::format("change {} of {} ternary codes", changed, all)),
            std::string::npos)
      << told;
  const Loaded loaded = load_in_transformers(scratch / "out", scratch.path());
  EXPECT_EQ(loaded.class_name, "BitNetForCausalLM");
  // transformers computes in bf16 here, with 8 bits; ours reads the same masters into fp32.
  EXPECT_LE(test::relative_error(our_logits(*load_decoder(folder, {}), 1), loaded.logits), 0.1);
}

}  // namespace
}  // namespace wf

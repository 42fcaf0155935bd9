#include "model/load.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>

#include "formats/hf_folder.h"
#include "formats/json.h"
#include "io/tensor_file.h"
#include "model/packed_codes.h"
#include "ops/ternary.h"
#include "shape/family.h"
#include "tests/base/temporary_folder.h"
#include "tests/io/expect_error.h"

namespace wf {
namespace {

using nlohmann::json;
using torch::Tensor;

json tiny_config() {
  return {{"model_type", "llama"},    {"vocab_size", 40},
          {"hidden_size", 32},        {"intermediate_size", 48},
          {"num_hidden_layers", 2},   {"num_attention_heads", 4},
          {"num_key_value_heads", 2}, {"tie_word_embeddings", false}};
}

std::vector<NamedTensor> weights_of(const DecoderConfig& config) {
  Decoder model(config, {});
  model.initialize(1);
  std::vector<NamedTensor> all;
  for (const auto& parameter : model.trained_parameters())
    all.push_back({parameter.name, parameter.value.detach().clone()});
  return all;
}

// A folder of the tiny model, after `change` has been at its config and weights.
std::string make_folder(const TemporaryFolder& scratch,
                        const std::function<void(json&, std::vector<NamedTensor>&)>& change) {
  json config = tiny_config();
  auto weights = weights_of(read_decoder_config(config, "test"));
  change(config, weights);
  const auto folder = scratch / "model";
  std::filesystem::create_directories(folder);
  write_json(folder / "config.json", config);
  write_hf_weights(folder, writable(weights));
  return folder.string();
}

Tensor& named(std::vector<NamedTensor>& weights, const std::string& name) {
  for (auto& weight : weights)
    if (weight.name == name) return weight.value;
  throw std::runtime_error("no " + name);
}

TEST(Load, NamesAMissingTensor) {
  const TemporaryFolder scratch;
  const auto folder = make_folder(scratch, [](json&, auto& weights) { weights.pop_back(); });
  test::expect_error([&] { load_decoder(HfFolder(folder), {}); }, {"lacks", "lm_head.weight"});
}

TEST(Load, NamesATensorThatHasNoPlace) {
  const TemporaryFolder scratch;
  const auto folder = make_folder(scratch, [](json&, auto& weights) {
    weights.push_back({"model.layers.0.self_attn.q_proj.bias", torch::zeros({32})});
  });
  test::expect_error([&] { load_decoder(HfFolder(folder), {}); }, {"no place", "q_proj.bias"});
}

TEST(Load, NamesBothShapesWhenTheyDiffer) {
  const TemporaryFolder scratch;
  const auto folder = make_folder(scratch, [](json&, auto& weights) {
    Tensor& head = named(weights, "lm_head.weight");
    head = head.slice(0, 0, 39).contiguous();
  });
  test::expect_error([&] { load_decoder(HfFolder(folder), {}); },
                     {"lm_head.weight", "[39, 32]", "[40, 32]"});
}

TEST(Load, AStoredTiedHeadMustBeTheEmbedding) {
  const TemporaryFolder scratch;
  const auto folder =
      make_folder(scratch, [](json& config, auto&) { config["tie_word_embeddings"] = true; });
  test::expect_error([&] { load_decoder(HfFolder(folder), {}); }, {"ties the head"});
}

TEST(Load, ReadsHalfPrecisionIntoWideMasters) {
  const TemporaryFolder scratch;
  for (const auto type : {torch::kBFloat16, torch::kHalf}) {
    const auto folder = make_folder(scratch, [&](json&, auto& weights) {
      for (auto& weight : weights) weight.value = weight.value.to(type);
    });
    const HfFolder stored(folder);
    for (const auto& parameter : load_decoder(stored, {})->trained_parameters()) {
      EXPECT_EQ(parameter.value.scalar_type(), torch::kFloat);
      EXPECT_TRUE(
          torch::equal(parameter.value, as_torch(stored.tensor(parameter.name)).to(torch::kFloat)));
    }
  }
}

// Both conventions of weight_scale: Δ for autobitlinear, 1/Δ for bitlinear.
TEST(Load, PackedFoldersGiveTheirCodesAndScalesBackInBothConventions) {
  for (const bool inverse : {false, true}) {
    const TemporaryFolder scratch;
    std::map<std::string, ops::Ternary> packed;
    const auto folder = make_folder(scratch, [&](json& config, auto& weights) {
      config["quantization_config"] = {{"quant_method", "bitnet"},
                                       {"linear_class", inverse ? "bitlinear" : "autobitlinear"},
                                       {"quantization_mode", "offline"}};
      std::vector<NamedTensor> scales;
      for (auto& weight : weights) {
        if (!weight.name.ends_with("_proj.weight")) continue;
        const auto ternary = ops::ternarize(weight.value);
        packed[weight.name] = ternary;
        weight.value = pack_codes(ternary.codes);
        scales.push_back({weight.name + "_scale",
                          (inverse ? ternary.scale.reciprocal() : ternary.scale).reshape({1})});
      }
      weights.insert(weights.end(), scales.begin(), scales.end());
    });
    const auto model = load_decoder(HfFolder(folder), {});
    ASSERT_EQ(packed.size(), 14);
    for (const auto& [name, linear] : model->bit_linears()) {
      const auto again = ops::ternarize(linear->weight);
      const auto& before = packed.at(name + ".weight");
      EXPECT_TRUE(torch::equal(again.codes, before.codes)) << name;
      // 1/(1/Δ) may miss Δ by the last bit.
      EXPECT_NEAR(again.scale.item<float>() / before.scale.item<float>(), 1, inverse ? 1.2e-7 : 0)
          << name;
    }
  }
}

TEST(Load, RefusesFeaturesItWouldIgnore) {
  for (const auto& [key, value] :
       std::map<std::string, json>{{"use_sliding_window", true},
                                   {"hidden_act", "gelu"},
                                   {"partial_rotary_factor", 0.5},
                                   {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 2}}},
                                   {"model_type", "mamba"},
                                   {"num_key_value_heads", 3}}) {
    json config = tiny_config();
    config[key] = value;
    EXPECT_THROW(read_decoder_config(config, "config.json"), Error) << key;
  }
}

}  // namespace
}  // namespace wf

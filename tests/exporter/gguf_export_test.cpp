// Model folders of every family as GGUF files of every type, run by the real llama.cpp, read by the
// Python package and by ggml's decoders, and turned back into folders.
#include "gguf/gguf_export.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <fstream>

#include "base/file.h"
#include "exporter/hf_latent.h"
#include "exporter/hf_packed.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "gguf/gguf_import.h"
#include "gguf/gguf_validate.h"
#include "io/tensor_file.h"
#include "model/packed_codes.h"
#include "ops/ternary.h"
#include "shape/family.h"
#include "shape/hf_config.h"
#include "tests/base/temporary_folder.h"
#include "tests/exporter/tiny_model.h"
#include "tests/io/expect_error.h"
#include "tests/io/python.h"

namespace wf {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using torch::Tensor;

constexpr int64_t kTokens = 48;

json base_config(const std::string& model_type) {
  return {{"model_type", model_type},  {"architectures", {"Source"}},    {"vocab_size", 96},
          {"hidden_size", 256},        {"intermediate_size", 512},       {"num_hidden_layers", 2},
          {"num_attention_heads", 8},  {"num_key_value_heads", 2},       {"head_dim", 32},
          {"rms_norm_eps", 1e-5},      {"max_position_embeddings", 128}, {"rope_theta", 1000.0},
          {"initializer_range", 0.12}, {"tie_word_embeddings", true}};
}

// A trained model's folder: float masters, quantised online.
std::shared_ptr<Decoder> make_folder(json source, bool sub_norm, double quant,
                                     const fs::path& folder) {
  const auto [decoder, config] = test::tiny_model(source, sub_norm, quant);
  HfLatent({}).write({*decoder, config, folder.parent_path()}, folder);
  return decoder;
}

Tensor test_tokens() { return test::random_tokens(96, kTokens); }

// Ternary weights, activations left in fp32: what llama.cpp computes from a file of F32.
Tensor our_logits(Decoder& model, double weight_quant) {
  return logits_of(model, test_tokens(), weight_quant, 0);
}

// llama.cpp's logits of NAME.gguf for every name, in one process.
std::map<std::string, Tensor> llama_logits(const std::vector<std::string>& names,
                                           const TemporaryFolder& scratch) {
  write_safetensors(scratch / "tokens.safetensors", {{"tokens", test_tokens()}});
  std::string list;
  for (const auto& name : names) list += fmt::format("'{}',", name);
  test::python(fmt::format(R"(
import sys; sys.path.insert(0, "{}/launch")
from safetensors.numpy import load_file, save_file
from wf.llama import Llama
tokens = load_file("tokens.safetensors")["tokens"].tolist()
out = {{}}
for name in [{}]:
    with Llama(name + ".gguf") as model: out[name] = model.logits(tokens)
save_file(out, "logits.safetensors")
)",
                           WF_SOURCE_DIR, list),
               scratch.path());
  std::map<std::string, Tensor> logits;
  const Safetensors file(scratch / "logits.safetensors");
  for (const auto& name : names) logits[name] = as_torch(file.tensor(name)).clone();
  return logits;
}

double top1(const Tensor& a, const Tensor& b) {
  return a.argmax(1).eq(b.argmax(1)).to(torch::kFloat).mean().item<double>();
}

const ShowProgress kQuiet = [](const char*, double) {};

GgufPlan convert(const fs::path& folder, const GgufOptions& options, const fs::path& file) {
  const HfFolder opened(folder);
  GgufPlan plan = plan_gguf(opened, options, kQuiet);
  write_gguf(plan, opened, file, false, kQuiet);
  return plan;
}

bool validates(const fs::path& file, const GgufPlan& plan) {
  std::ostringstream table;
  const bool passed = print_findings(validate_gguf(file, plan, kQuiet), table);
  if (!passed) std::printf("%s", table.str().c_str());
  return passed;
}

const std::map<std::string, GgufType> kLlamaTypes = {
    {"tq1_0", GgufType::kTQ1_0}, {"tq2_0", GgufType::kTQ2_0}, {"q2_0", GgufType::kQ2_0},
    {"q8_0", GgufType::kQ8_0},   {"f16", GgufType::kF16},     {"bf16", GgufType::kBF16},
    {"f32", GgufType::kF32}};

struct Case {
  const char* name;
  const char* model_type;
  json changes;
  bool sub_norm;
  const char* arch;
  bool scale_tensors;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

const std::vector<Case> kCases = {
    {"bitnet", "llama", json::object(), true, "bitnet", true},
    {"llama", "llama", {{"tie_word_embeddings", false}}, false, "llama", true},
    {"llama_biased",
     "llama",
     {{"attention_bias", true}, {"mlp_bias", true}},
     false,
     "llama",
     false},
    {"llama_attention_bias", "llama", {{"attention_bias", true}}, false, "llama", true},
    {"llama_wide_linear_rope",
     "llama",
     {{"head_dim", 64}, {"rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}}}},
     false,
     "llama",
     true},
    {"llama3_rope",
     "llama",
     {{"rope_scaling",
       {{"rope_type", "llama3"},
        {"factor", 8.0},
        {"low_freq_factor", 1.0},
        {"high_freq_factor", 4.0},
        {"original_max_position_embeddings", 64}}}},
     false,
     "llama",
     true},
    {"qwen2", "qwen2", json::object(), false, "qwen2", false},
    {"qwen3", "qwen3", {{"head_dim", 64}}, false, "qwen3", true}};

class GgufExport : public testing::TestWithParam<Case> {
 protected:
  GgufExport() {
    json source = base_config(GetParam().model_type);
    source.update(GetParam().changes);
    model_ = make_folder(source, GetParam().sub_norm, 1, folder());
  }
  fs::path folder() const { return scratch_ / "model"; }

  TemporaryFolder scratch_;
  std::shared_ptr<Decoder> model_;
};

TEST_P(GgufExport, LlamaCppAnswersAsWeDo) {
  std::vector<std::string> names;
  for (const auto& [name, type] : kLlamaTypes) {
    const auto plan = convert(folder(), {.outtype = type, .embedding = GgufType::kF32},
                              scratch_ / (name + ".gguf"));
    EXPECT_EQ(plan.graph->arch, GetParam().arch);
    EXPECT_TRUE(validates(scratch_ / (name + ".gguf"), plan)) << name;
    const Gguf file(scratch_ / (name + ".gguf"));
    EXPECT_EQ(file.find("blk.0.attn_q.scale") != nullptr, GetParam().scale_tensors && name != "f32")
        << name;
    names.push_back(name);
  }
  const auto logits = llama_logits(names, scratch_);
  const Tensor truth = our_logits(*model_, 1);
  EXPECT_LE(test::relative_error(logits.at("f32"), truth), 1e-5);
  // A wrong permutation, bias, norm or frequency would show at once.
  EXPECT_GE(test::relative_error(logits.at("f32"), our_logits(*model_, 0)), 0.1);
  EXPECT_TRUE(torch::equal(logits.at("tq1_0"), logits.at("tq2_0")));
  for (const auto& name : names) {
    // That engine quantises activations for these types: by blocks of 256 or 32.
    EXPECT_LE(test::relative_error(logits.at(name), truth), name[0] == 't' ? 0.08 : 0.05) << name;
    EXPECT_GE(top1(logits.at(name), truth), 0.8) << name;
  }
}

TEST_P(GgufExport, TheReverseGivesCodesAndScalesBack) {
  if (GetParam().name == std::string("llama3_rope")) {
    convert(folder(), {}, scratch_ / "a.gguf");
    test::expect_error([&] { import_gguf(scratch_ / "a.gguf", scratch_ / "back", {}, kQuiet); },
                       {"llama3"});
    return;
  }
  for (const auto& [name, type] : kLlamaTypes) {
    const auto plan = convert(folder(), {.outtype = type}, scratch_ / (name + ".gguf"));
    import_gguf(scratch_ / (name + ".gguf"), scratch_ / ("back_" + name), {}, kQuiet);
    const HfFolder back(scratch_ / ("back_" + name));
    const auto again = load_decoder(back, {});
    const auto before = model_->bit_linears(), after = again->bit_linears();
    ASSERT_EQ(before.size(), after.size());
    const bool exact = GetParam().scale_tensors || name == "f32";
    for (size_t i = 0; i < before.size(); ++i) {
      const auto a = ops::ternarize(before[i].second->weight);
      const auto b = ops::ternarize(after[i].second->weight);
      EXPECT_TRUE(torch::equal(a.codes, b.codes)) << name << " " << before[i].first;
      EXPECT_NEAR(b.scale.item<float>() / a.scale.item<float>(), 1,
                  exact            ? 0
                  : name == "bf16" ? 4e-3
                                   : 5e-4)
          << name;
    }
    EXPECT_EQ(again->config().rms_norm_eps, 1e-5);
    EXPECT_EQ(again->config().rope_theta, 1000);
    // And once more forward: the same file, but for its name.
    if (exact) {
      const auto twice =
          convert(scratch_ / ("back_" + name), {.outtype = type}, scratch_ / "b.gguf");
      EXPECT_TRUE(validates(scratch_ / (name + ".gguf"), twice)) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GgufExport, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

// Python's gguf, and ggml where that package lacks a type, read what was trained.
TEST(GgufExport, IndependentReadersSeeTheTrainedNumbers) {
  const TemporaryFolder scratch;
  const auto model = make_folder(base_config("qwen2"), false, 1, scratch / "model");
  std::string names;
  for (const auto& [name, type] : kLlamaTypes) {
    convert(scratch / "model", {.outtype = type, .embedding = GgufType::kQ6_K},
            scratch / (name + ".gguf"));
    names += fmt::format("'{}',", name);
  }
  std::vector<NamedTensor> truth;
  for (const auto& [name, linear] : model->bit_linears()) {
    const auto ternary = ops::ternarize(linear->weight.detach());
    truth.push_back({name, ternary.codes * ternary.scale});
  }
  write_safetensors(scratch / "truth.safetensors", truth);
  test::python(fmt::format(R"(
import ctypes, gguf, numpy, pathlib, xllamacpp
from safetensors.numpy import load_file
(path,) = pathlib.Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
q2_0 = ctypes.CDLL(str(path)).dequantize_row_q2_0
q2_0.argtypes, q2_0.restype = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64], None
# The package does not know type 42 yet; its size is all that its reader needs.
kind = int.__new__(gguf.GGMLQuantizationType, 42); kind._name_, kind._value_ = "Q2_0", 42
gguf.GGMLQuantizationType._value2member_map_[42] = kind
gguf.GGML_QUANT_SIZES[kind] = (64, 18)
rows = {{"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj"}}
truth = load_file("truth.safetensors")
for name in [{}]:
    seen, reader = 0, gguf.GGUFReader(name + ".gguf")
    file_type = reader.fields["general.file_type"].contents()
    known = dict(f32="ALL_F32", q2_0=None).get(name, "MOSTLY_" + name.upper())
    assert file_type == (gguf.LlamaFileType[known] if known else 41), (name, file_type)
    assert reader.fields["general.quantization_version"].contents() == gguf.GGML_QUANT_VERSION
    assert [t.tensor_type.name for t in reader.tensors if t.name == "token_embd.weight"] == ["Q6_K"]
    for tensor in reader.tensors:
        parts = tensor.name.split(".")
        if len(parts) != 4 or parts[2] not in rows or parts[3] != "weight": continue
        want = truth["model.layers." + parts[1] + "." + rows[parts[2]]]
        if tensor.tensor_type == 42:
            got = numpy.empty(want.shape, numpy.float32)
            q2_0(tensor.data.tobytes(), got.ctypes.data, got.size)
        else:
            got = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert got.shape == want.shape and (numpy.sign(got) == numpy.sign(want)).all(), tensor.name
        tolerance = dict(f32=0, bf16=4e-3).get(name, 5e-4)
        numpy.testing.assert_allclose(got, want, rtol=tolerance, atol=0)
        seen += 1
    assert seen == 14, seen
)",
                           names),
               scratch.path());
}

// Every way a folder can store one model gives one file.
TEST(GgufExport, EveryStorageGivesTheSameCodes) {
  const TemporaryFolder scratch;
  const auto model = make_folder(base_config("llama"), true, 1, scratch / "model");
  convert(scratch / "model", {}, scratch / "latent.gguf");
  const HfFolder source(scratch / "model");

  HfPacked({}).write({*model, source.config(), scratch.path()}, scratch / "packed");
  const auto packed = convert(scratch / "packed", {}, scratch / "packed.gguf");
  EXPECT_TRUE(validates(scratch / "latent.gguf", packed));

  // The other convention: weight_scale is 1/Δ. Its reciprocal may miss Δ by the last bit.
  const HfFolder mean(scratch / "packed");
  std::vector<NamedTensor> weights;
  for (const auto& name : mean.names())
    weights.push_back({name, name.ends_with("_scale") ? as_torch(mean.tensor(name)).reciprocal()
                                                      : as_torch(mean.tensor(name))});
  json config = mean.config();
  config["quantization_config"].erase("linear_class");
  fs::create_directories(scratch / "inverse");
  write_hf_weights(scratch / "inverse", writable(weights));
  write_json(scratch / "inverse/config.json", config);
  convert(scratch / "inverse", {}, scratch / "inverse.gguf");
  const Gguf a(scratch / "latent.gguf"), b(scratch / "inverse.gguf");
  for (const auto& tensor : a.tensors()) {
    const auto x = a.bytes(tensor), y = b.bytes(b.tensor(tensor.name));
    if (!tensor.name.ends_with(".scale")) {
      EXPECT_TRUE(std::ranges::equal(x, y)) << tensor.name;
      continue;
    }
    float before, after;
    std::memcpy(&before, x.data(), 4);
    std::memcpy(&after, y.data(), 4);
    EXPECT_NEAR(after / before, 1, 1.2e-7);
  }

  // Already ternary floats keep their scale (mistake 3: absmean twice); predecessor names and
  // class.
  for (const bool sequential : {false, true}) {
    std::vector<NamedTensor> dequantised;
    for (const auto& parameter : model->trained_parameters()) {
      Tensor value = parameter.value.detach();
      if (parameter.role == Role::kLinear) {
        const auto ternary = ops::ternarize(value);
        value = ternary.codes * ternary.scale;
      }
      std::string name = parameter.name;
      const auto rename = [&](const std::string& from, const std::string& to) {
        if (const auto at = name.find(from); at != name.npos) name.replace(at, from.size(), to);
      };
      if (sequential) {
        rename("self_attn.o_proj", "self_attn.o_proj.1");
        rename("self_attn.attn_sub_norm", "self_attn.o_proj.0");
        rename("mlp.down_proj", "mlp.down_proj.1");
        rename("mlp.ffn_sub_norm", "mlp.down_proj.0");
      } else {
        rename("attn_sub_norm", "inner_attn_ln");
        rename("ffn_sub_norm", "ffn_layernorm");
      }
      dequantised.push_back({name, value});
    }
    const auto folder = scratch / (sequential ? "sequential" : "1bitllm");
    json old = base_config("llama");
    old["architectures"] = {"BitnetForCausalLM"};
    fs::create_directories(folder);
    write_hf_weights(folder, writable(dequantised));
    write_json(folder / "config.json", old);
    const auto plan = convert(folder, {}, scratch / "old.gguf");
    EXPECT_THAT(plan.notices,
                testing::Contains(testing::HasSubstr("14 matrices are ternary already")));
    EXPECT_TRUE(validates(scratch / "latent.gguf", plan));
  }
}

TEST(GgufExport, TakesHalfPrecisionMastersToFp32First) {
  const TemporaryFolder scratch;
  const auto model = make_folder(base_config("llama"), true, 1, scratch / "model");
  const HfFolder source(scratch / "model");
  HfLatent({.dtype = FloatType::kBf16})
      .write({*model, source.config(), scratch.path()}, scratch / "bf16");
  convert(scratch / "bf16", {.outtype = GgufType::kF32}, scratch / "a.gguf");
  import_gguf(scratch / "a.gguf", scratch / "back", {}, kQuiet);
  const HfFolder back(scratch / "back");
  for (const auto& [name, linear] : model->bit_linears()) {
    const auto truth =
        ops::ternarize(linear->weight.detach().to(torch::kBFloat16).to(torch::kFloat));
    EXPECT_TRUE(torch::equal(unpack_codes(as_torch(back.tensor(name + ".weight"))), truth.codes));
    EXPECT_EQ(as_torch(back.tensor(name + ".weight_scale")).item<float>(),
              truth.scale.item<float>());
  }
}

// SmolLM2's 576: the requested type where it fits, another lossless one elsewhere, and said so.
TEST(GgufExport, FallsBackPerTensorWithoutLossAndSaysSo) {
  const TemporaryFolder scratch;
  json source = base_config("llama");
  source.update({{"hidden_size", 192}, {"head_dim", 24}, {"intermediate_size", 512}});
  const auto model = make_folder(source, true, 1, scratch / "model");
  const auto plan = convert(scratch / "model", {}, scratch / "tq1_0.gguf");
  EXPECT_THAT(plan.notices,
              testing::Contains(testing::HasSubstr(
                  "12 matrices of 192 inputs are q2_0 instead of tq1_0, without loss")));
  const Gguf file(scratch / "tq1_0.gguf");
  EXPECT_EQ(file.tensor("blk.0.attn_q.weight").type, GgufType::kQ2_0);
  EXPECT_EQ(file.tensor("blk.0.ffn_down.weight").type, GgufType::kTQ1_0);
  EXPECT_TRUE(validates(scratch / "tq1_0.gguf", plan));
  const auto logits = llama_logits({"tq1_0"}, scratch);
  EXPECT_LE(test::relative_error(logits.at("tq1_0"), our_logits(*model, 1)), 0.08);

  const auto microsoft =
      convert(scratch / "model", {.engine = Engine::kMicrosoft2024, .outtype = GgufType::kI2_S},
              scratch / "i2_s.gguf");
  EXPECT_EQ(Gguf(scratch / "i2_s.gguf").tensor("blk.0.attn_q.weight").type, GgufType::kQ8_0);
  EXPECT_TRUE(validates(scratch / "i2_s.gguf", microsoft));

  source.update({{"hidden_size", 144}, {"head_dim", 18}});
  make_folder(source, true, 1, scratch / "odd");
  EXPECT_TRUE(validates(scratch / "odd.gguf", convert(scratch / "odd", {}, scratch / "odd.gguf")));
  EXPECT_EQ(Gguf(scratch / "odd.gguf").tensor("blk.0.attn_q.weight").type, GgufType::kF16);
}

TEST(GgufExport, WritesForMicrosoftsEngines) {
  const TemporaryFolder scratch;
  json source = base_config("bitnet");
  source.update({{"hidden_act", "relu2"},
                 {"hidden_size", 512},
                 {"head_dim", 64},
                 {"num_key_value_heads", 4},
                 {"intermediate_size", 768}});
  const auto model = make_folder(source, false, 1, scratch / "model");
  const auto expect_codes_and_scales = [&](const fs::path& folder) {
    const HfFolder back(folder);
    for (const auto& [name, linear] : model->bit_linears()) {
      const auto truth = ops::ternarize(linear->weight.detach());
      EXPECT_TRUE(torch::equal(unpack_codes(as_torch(back.tensor(name + ".weight"))), truth.codes))
          << name;
      EXPECT_EQ(as_torch(back.tensor(name + ".weight_scale")).item<float>(),
                truth.scale.item<float>())
          << name;
    }
  };
  for (const auto engine : {Engine::kMicrosoft2024, Engine::kMicrosoft2026}) {
    const GgufOptions options{.engine = engine, .outtype = GgufType::kI2_S};
    const auto plan = convert(scratch / "model", options, scratch / "i2_s.gguf");
    EXPECT_TRUE(validates(scratch / "i2_s.gguf", plan));
    const Gguf file(scratch / "i2_s.gguf");
    EXPECT_EQ(file.metadata().need<std::string>("general.architecture"), "bitnet-b1.58");
    EXPECT_EQ(file.tensor("blk.1.ffn_up.weight").bytes, 512 * 768 / 4 + 32);
    EXPECT_EQ(file.find("blk.0.attn_q.scale"), nullptr);
    EXPECT_EQ(file.metadata().need<std::string>("tokenizer.ggml.model"), "no_vocab");
    const auto says_silu = testing::Contains(testing::HasSubstr("compute silu"));
    EXPECT_EQ(testing::Value(plan.notices, says_silu), engine == Engine::kMicrosoft2026);
    const fs::path back = scratch / fmt::format("back_i2_s_{}", int(engine));
    import_gguf(scratch / "i2_s.gguf", back, {}, kQuiet);
    expect_codes_and_scales(back);
  }
  for (const auto type : {GgufType::kTL1, GgufType::kTL2}) {
    const fs::path file = scratch / "tl" / "model.gguf";
    fs::create_directories(file.parent_path());
    const auto plan =
        convert(scratch / "model", {.engine = Engine::kMicrosoft2024, .outtype = type}, file);
    EXPECT_TRUE(fs::exists(scratch / "tl" / kKernelConfigName));
    EXPECT_THAT(plan.notices, testing::Contains(testing::HasSubstr("kernel_config.ini")));
    EXPECT_TRUE(validates(file, plan));
    // The same tiles, given.
    const fs::path given_file = scratch / fmt::format("given{}", int(type)) / "model.gguf";
    fs::create_directories(given_file.parent_path());
    const GgufOptions given{.engine = Engine::kMicrosoft2024,
                            .outtype = type,
                            .kernel_config = scratch / "tl" / kKernelConfigName};
    convert(scratch / "model", given, given_file);
    EXPECT_EQ(sha256_hex_of_file(given_file), sha256_hex_of_file(file));
    const fs::path back = scratch / fmt::format("back{}", int(type));
    import_gguf(file, back, {}, kQuiet);
    expect_codes_and_scales(back);
    EXPECT_EQ(load_decoder(HfFolder(back), {})->config().activation, Activation::kRelu2);
    fs::remove(given_file.parent_path() / kKernelConfigName);
    test::expect_error([&] { import_gguf(given_file, scratch / "no", {}, kQuiet); },
                       {"kernel_config.ini is missing beside the file"});
    // Other tiles beside it are another file's.
    std::ofstream(scratch / "tl" / kKernelConfigName, std::ios::app) << "[another]\nm = 1\nk = 2\n";
    test::expect_error(
        [&] {
          convert(scratch / "model", {.engine = Engine::kMicrosoft2024, .outtype = type},
                  scratch / "tl" / "other.gguf");
        },
        {"is there with other tiles", "--kernel-config"});
    EXPECT_FALSE(fs::exists(scratch / "tl" / "other.gguf"));
    fs::remove_all(scratch / "tl");
  }
  test::expect_error(
      [&] {
        convert(scratch / "model", {.engine = Engine::kMicrosoft2026, .outtype = GgufType::kTL1},
                scratch / "no.gguf");
      },
      {"microsoft-2026 does not read tl1", "--engine"});
}

struct Refusal {
  const char* name;
  const char* model_type;
  json changes;
  bool sub_norm;
  GgufOptions options;
  std::vector<std::string> says;
};
void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }
class GgufRefusal : public testing::TestWithParam<Refusal> {};

TEST_P(GgufRefusal, SaysWhyAndTheWayOut) {
  const TemporaryFolder scratch;
  json source = base_config(GetParam().model_type);
  source.update(GetParam().changes);
  make_folder(source, GetParam().sub_norm, 1, scratch / "model");
  try {
    convert(scratch / "model", GetParam().options, scratch / "model.gguf");
    ADD_FAILURE() << "was converted";
  } catch (const Error& error) {
    for (const auto& part : GetParam().says) EXPECT_THAT(error.what(), testing::HasSubstr(part));
  }
  EXPECT_FALSE(fs::exists(scratch / "model.gguf"));
}

const GgufOptions kTl2{.engine = Engine::kMicrosoft2024, .outtype = GgufType::kTL2};
INSTANTIATE_TEST_SUITE_P(
    Models, GgufRefusal,
    testing::Values(
        Refusal{"qk_norm_with_subln",
                "qwen3",
                json::object(),
                true,
                {},
                {"q/k-norm", "sub_norms=none"}},
        Refusal{"untied_bitnet",
                "llama",
                {{"tie_word_embeddings", false}},
                true,
                {},
                {"the bitnet graph takes the embedding as the head", "tie_word_embeddings true",
                 "sub_norms=none"}},
        Refusal{"rope_scaling_in_bitnet",
                "llama",
                {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}}}},
                true,
                {},
                {"no rope scaling"}},
        Refusal{"biased_bitnet", "qwen2", json::object(), true, {}, {"no biases"}},
        Refusal{"relu2", "bitnet", {{"hidden_act", "relu2"}}, false, {}, {"relu2", "microsoft"}},
        Refusal{"wide_bitnet",
                "bitnet",
                {{"hidden_act", "silu"}, {"head_dim", 64}},
                false,
                {},
                {"heads x head_dim"}},
        Refusal{"unknown_arch",
                "llama",
                json::object(),
                false,
                {.arch = "gemma"},
                {"'gemma'", "it has bitnet, llama"}},
        Refusal{"foreign_arch",
                "llama",
                json::object(),
                false,
                {.arch = "bitnet"},
                {"sub-norms", "no --arch"}},
        Refusal{"i2_s_in_llama_cpp",
                "llama",
                json::object(),
                true,
                {.outtype = GgufType::kI2_S},
                {"llama.cpp does not read i2_s"}},
        Refusal{"untileable", "llama", json::object(), true, kTl2, {"cannot be tiled", "i2_s"}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(GgufRefusal, FullPrecisionWeightsAreNotMadeTernary) {
  const TemporaryFolder scratch;
  const auto model = make_folder(base_config("llama"), false, 0, scratch / "model");
  test::expect_error([&] { convert(scratch / "model", {}, scratch / "a.gguf"); },
                     {"not trained to be ternary", "--outtype f16"});
  convert(scratch / "model", {.outtype = GgufType::kF32}, scratch / "f32.gguf");
  const auto logits = llama_logits({"f32"}, scratch);
  EXPECT_LE(test::relative_error(logits.at("f32"), our_logits(*model, 0)), 1e-5);
  import_gguf(scratch / "f32.gguf", scratch / "back", {}, kQuiet);
  const auto back = load_decoder(HfFolder(scratch / "back"), {});
  EXPECT_TRUE(torch::equal(our_logits(*back, 0), our_logits(*model, 0)));
  EXPECT_EQ(trained_quant(HfFolder(scratch / "back").config()).weights, 0);
}

// --validate finds what others shipped.
TEST(GgufValidate, FailsOnDamagedFiles) {
  const TemporaryFolder scratch;
  const auto model = make_folder(base_config("llama"), true, 1, scratch / "model");
  const HfFolder folder(scratch / "model");
  const GgufPlan plan = plan_gguf(folder, {}, kQuiet);
  write_gguf(plan, folder, scratch / "good.gguf", false, kQuiet);
  const auto failed = [&](const GgufPlan& against) {
    std::string names;
    for (const auto& finding : validate_gguf(scratch / "good.gguf", against, kQuiet))
      if (!finding.passed) names += finding.check + " ";
    return names;
  };
  EXPECT_EQ(failed(plan), "");

  // Files of other weights: what each mistake makes of the masters, written as they should be.
  const auto mistaken = [&](const char* name, auto&& change) {
    json config = folder.config();
    std::vector<NamedTensor> weights;
    for (const auto& parameter : model->trained_parameters()) {
      Tensor value = parameter.value.detach().clone();
      if (parameter.role == Role::kLinear) value = change(value);
      weights.push_back({parameter.name, value});
    }
    fs::create_directories(scratch / name);
    write_hf_weights(scratch / name, writable(weights));
    write_json(scratch / name / "config.json", config);
    convert(scratch / name, {}, scratch / "good.gguf");
    return failed(plan);
  };
  const auto dequantised = [](const Tensor& w, const Tensor& scale) {
    return ops::ternarize(w).codes * scale;
  };
  EXPECT_EQ(mistaken("twice",
                     [&](const Tensor& w) {
                       const auto once = ops::ternarize(w);
                       return dequantised(w, ops::ternarize(once.codes * once.scale).scale);
                     }),
            "scales double absmean ");
  EXPECT_EQ(mistaken("inverted",
                     [&](const Tensor& w) {
                       return dequantised(w, ops::ternarize(w).scale.reciprocal());
                     }),
            "scales inverted scale ");
  EXPECT_EQ(mistaken("raw",
                     [](const Tensor& w) {
                       const Tensor largest = std::get<0>(w.abs().view({-1, 256}).max(1, true));
                       return (w.view({-1, 256}) / largest).round().view_as(w) * 0.3;
                     }),
            "codes scales raw weights ");
  EXPECT_EQ(mistaken("shuffled", [](const Tensor& w) { return w.flip(0).contiguous(); }), "codes ");

  // Structure: another architecture's tensors, a file too long.
  write_gguf(plan, folder, scratch / "good.gguf", false, kQuiet);
  std::ofstream(scratch / "good.gguf", std::ios::app) << "surplus";
  EXPECT_EQ(failed(plan), "size ");
  make_folder(base_config("llama"), false, 1, scratch / "plain");
  convert(scratch / "plain", {}, scratch / "good.gguf");
  EXPECT_THAT(failed(plan), testing::HasSubstr("metadata tensors floats codes"));
}

}  // namespace
}  // namespace wf

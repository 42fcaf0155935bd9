#include "gguf/gguf_keys.h"

#include <cmath>

#include "base/error.h"
#include "shape/family.h"

namespace wf {
namespace {

// Informational; the numbers differ between engines as the type ids do.
uint32_t file_type(Engine engine, GgufType type) {
  switch (type) {
    case GgufType::kF32:
      return 0;
    case GgufType::kF16:
      return 1;
    case GgufType::kBF16:
      return 32;
    case GgufType::kQ8_0:
      return 7;
    case GgufType::kTQ1_0:
      return 36;
    case GgufType::kTQ2_0:
      return 37;
    case GgufType::kQ2_0:
      return 41;
    case GgufType::kTL1:
      return 38;
    case GgufType::kTL2:
      return 39;
    case GgufType::kI2_S:
      return engine == Engine::kMicrosoft2024 ? 40 : 41;
    default:
      fail("internal error: no file holds mostly {}", gguf_type_name(type));
  }
}

}  // namespace

void write_model_keys(const DecoderConfig& c, const GgufGraph& graph, const std::string& name,
                      GgufType outtype, GgufMetadata& metadata) {
  const std::string arch(graph.arch);
  const auto count = [&](const char* key, int64_t value) {
    metadata.set(arch + key, static_cast<uint32_t>(value));
  };
  metadata.set("general.architecture", arch);
  metadata.set("general.type", std::string("model"));
  metadata.set("general.name", name);
  metadata.set("general.file_type", file_type(graph.engine, outtype));
  metadata.set("general.quantization_version", uint32_t{2});
  count(".vocab_size", c.vocab_size);
  count(".context_length", c.max_positions);
  count(".embedding_length", c.hidden_size);
  count(".block_count", c.num_layers);
  count(".feed_forward_length", c.intermediate_size);
  count(".attention.head_count", c.num_heads);
  count(".attention.head_count_kv", c.num_kv_heads);
  metadata.set(arch + ".attention.layer_norm_rms_epsilon", static_cast<float>(c.rms_norm_eps));
  count(".rope.dimension_count", c.head_dim);
  metadata.set(arch + ".rope.freq_base", static_cast<float>(c.rope_theta));
  if (c.num_heads * c.head_dim != c.hidden_size) {
    count(".attention.key_length", c.head_dim);
    count(".attention.value_length", c.head_dim);
  }
  if (c.rope_scaling && c.rope_scaling->kind == RopeScaling::Kind::kLinear) {
    metadata.set(arch + ".rope.scaling.type", std::string("linear"));
    metadata.set(arch + ".rope.scaling.factor", static_cast<float>(c.rope_scaling->factor));
  }
}

DecoderConfig read_model_keys(const Gguf& file) {
  const GgufMetadata& keys = file.metadata();
  const auto& arch = keys.need<std::string>("general.architecture");
  const auto count = [&](const char* key) { return int64_t{keys.need<uint32_t>(arch + key)}; };
  const auto count_or = [&](const char* key, int64_t otherwise) {
    const auto* value = keys.get<uint32_t>(arch + key);
    return value ? int64_t{*value} : otherwise;
  };
  const auto real_or = [&](const char* key, double otherwise) {
    const auto* value = keys.get<float>(arch + key);
    // The shortest decimal that reads back to this float: 1e-05, not 9.99999974e-06.
    return value ? std::stod(fmt::format("{}", *value)) : otherwise;
  };
  const auto has = [&](const char* name) { return file.find(name) != nullptr; };
  DecoderConfig c;
  c.vocab_size = static_cast<int64_t>(file.tensor("token_embd.weight").rows());
  c.hidden_size = count(".embedding_length");
  c.intermediate_size = count(".feed_forward_length");
  c.num_layers = count(".block_count");
  c.num_heads = count(".attention.head_count");
  c.num_kv_heads = count_or(".attention.head_count_kv", c.num_heads);
  if (c.num_heads == 0 || c.num_layers == 0)
    fail("{}: has no layers or no attention heads", file.path().string());
  if (uint64_t(c.num_layers) > file.tensors().size())  // before anything grows with it
    fail("{}: says that it has {} layers, and holds {} tensors in all", file.path().string(),
         c.num_layers, file.tensors().size());
  c.head_dim = count_or(".attention.key_length", c.hidden_size / c.num_heads);
  c.max_positions = count(".context_length");
  c.rms_norm_eps = real_or(".attention.layer_norm_rms_epsilon", 1e-6);
  c.rope_theta = real_or(".rope.freq_base", 10000);
  const auto* scaling = keys.get<std::string>(arch + ".rope.scaling.type");
  const double factor = real_or(".rope.scaling.factor", 1);
  if (scaling && *scaling != "none" && factor != 1) {
    if (*scaling != "linear")
      fail("{}: rope scaling of type '{}' is not one that is read here", file.path().string(),
           *scaling);
    c.rope_scaling = RopeScaling{.kind = RopeScaling::Kind::kLinear, .factor = factor};
  }
  if (has(kRopeFactors))
    fail(
        "{}: holds {}, from which the parameters of llama3's rope scaling cannot be told: convert "
        "the original folder instead",
        file.path().string(), kRopeFactors);
  c.activation =
      arch == "bitnet-b1.58" || arch == "bitnet-25" ? Activation::kRelu2 : Activation::kSilu;
  c.tied_head = !has("output.weight");
  c.qkv_bias = has("blk.0.attn_q.bias");
  c.o_bias = has("blk.0.attn_output.bias");
  c.mlp_bias = has("blk.0.ffn_gate.bias");
  c.qk_norm = has("blk.0.attn_q_norm.weight");
  c.sub_norm = has("blk.0.attn_sub_norm.weight");
  check_decoder_config(c, file.path().string());
  return c;
}

const GgufGraph& graph_of(const Gguf& file, const DecoderConfig& config) {
  const auto& arch = file.metadata().need<std::string>("general.architecture");
  for (const auto& [name, engine] : config::names<Engine>) {
    try {
      return choose_graph(config, engine, arch);
    } catch (const Error&) {
      continue;  // another engine may know it
    }
  }
  fail("{}: architecture '{}' is not one that is read here", file.path().string(), arch);
}

std::vector<float> rope_factors(const DecoderConfig& c) {
  std::vector<float> factors;
  for (int64_t i = 0; i < c.head_dim / 2; ++i) {
    const double plain = std::pow(c.rope_theta, -2.0 * double(i) / double(c.head_dim));
    factors.push_back(static_cast<float>(plain / scaled_frequency(plain, *c.rope_scaling)));
  }
  return factors;
}

}  // namespace wf

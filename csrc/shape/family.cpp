#include "shape/family.h"

#include <array>
#include <cmath>
#include <string_view>

#include "base/error.h"

namespace wf {

using nlohmann::json;

namespace {

constexpr std::string_view kSublnSuffix = "_subln";

// Typed look-ups whose errors name the file and the key. null counts as absent, as in transformers.
class Keys {
 public:
  Keys(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  bool has(const char* key) const { return object_.contains(key) && !object_.at(key).is_null(); }

  template <class T>
  T get(const char* key, T otherwise) const {
    if (!has(key)) return otherwise;
    const json& value = object_.at(key);
    try {
      // json would cut 256.5 to 256.
      if (!std::is_same_v<T, int64_t> || value.is_number_integer()) return value.get<T>();
    } catch (const json::exception&) {
    }
    fail("{}: {} has the value {}, which is of the wrong type", where_, key, value.dump());
  }
  template <class T>
  T need(const char* key) const {
    if (!has(key)) fail("{}: {} is missing", where_, key);
    return get<T>(key, T{});
  }
  const json& object() const { return object_; }
  const std::string& where() const { return where_; }

 private:
  const json& object_;
  std::string where_;
};

// The defaults that transformers' configuration classes give when a key is absent.
struct Family {
  std::string_view model_type;
  double rms_norm_eps;
  double rope_theta;
  std::string_view hidden_act;
  bool qkv_bias, o_bias;  // without attention_bias in the file
  bool reads_biases;      // attention_bias and mlp_bias are keys of this family
  bool qk_norm, sub_norm;
};
constexpr std::array kFamilies = {
    Family{"llama", 1e-6, 10000, "silu", false, false, true, false, false},
    Family{"qwen2", 1e-6, 10000, "silu", true, false, false, false, false},
    Family{"qwen3", 1e-6, 10000, "silu", false, false, true, true, false},
    Family{"bitnet", 1e-5, 500000, "relu2", false, false, true, false, true},
};

const Family& find_family(const std::string& type, const std::string& where) {
  std::string known;
  for (const Family& family : kFamilies) {
    if (family.model_type == type) return family;
    known += (known.empty() ? "" : ", ") + std::string(family.model_type);
  }
  fail("{}: model_type '{}' is not supported; supported are {}", where, type, known);
}

void read_rope(const Keys& keys, const Family& family, DecoderConfig& out) {
  out.rope_theta = keys.get("rope_theta", family.rope_theta);
  const char* section = keys.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!keys.has(section)) return;
  const Keys rope(keys.object().at(section), keys.where() + ": " + section);
  out.rope_theta = rope.get("rope_theta", out.rope_theta);
  const auto type = rope.get<std::string>("rope_type", rope.get<std::string>("type", "default"));
  if (rope.get("partial_rotary_factor", 1.0) != 1.0)
    fail("{}: partial_rotary_factor is not supported", rope.where());
  if (type == "default") return;
  RopeScaling scaling;
  scaling.factor = rope.need<double>("factor");
  if (type == "linear") {
    scaling.kind = RopeScaling::Kind::kLinear;
  } else if (type == "llama3") {
    scaling.kind = RopeScaling::Kind::kLlama3;
    scaling.low_freq_factor = rope.need<double>("low_freq_factor");
    scaling.high_freq_factor = rope.need<double>("high_freq_factor");
    scaling.original_context = rope.need<double>("original_max_position_embeddings");
  } else {
    fail("{}: rope type '{}' is not supported; supported are default, linear, llama3", rope.where(),
         type);
  }
  out.rope_scaling = scaling;
}

void refuse_what_would_be_ignored(const Keys& keys) {
  if (keys.get("use_sliding_window", false))
    fail("{}: use_sliding_window is true; sliding-window attention is not supported", keys.where());
  if (keys.get("partial_rotary_factor", 1.0) != 1.0)
    fail("{}: partial_rotary_factor is not supported", keys.where());
  if (keys.get<int64_t>("pretraining_tp", 1) != 1)
    fail("{}: pretraining_tp is not supported; set it to 1", keys.where());
  if (keys.get("attention_dropout", 0.0) != 0.0)
    fail("{}: attention_dropout is not supported; set it to 0", keys.where());
}

}  // namespace

void check_decoder_config(const DecoderConfig& c, const std::string& where) {
  const auto positive = [&](const char* key, auto value) {
    if (!(value > 0 && std::isfinite(double(value))))
      fail("{}: {} is {}, expected a value > 0", where, key, value);
  };
  positive("vocab_size", c.vocab_size);
  positive("hidden_size", c.hidden_size);
  positive("intermediate_size", c.intermediate_size);
  positive("num_hidden_layers", c.num_layers);
  positive("num_attention_heads", c.num_heads);
  positive("num_key_value_heads", c.num_kv_heads);
  positive("head_dim", c.head_dim);
  positive("max_position_embeddings", c.max_positions);
  positive("rms_norm_eps", c.rms_norm_eps);
  positive("rope_theta", c.rope_theta);
  if (c.rope_scaling) positive("the factor of the rope scaling", c.rope_scaling->factor);
  if (c.head_dim % 2)
    fail("{}: head_dim {} is odd; rotary embedding needs pairs", where, c.head_dim);
  if (c.num_heads % c.num_kv_heads)
    fail("{}: {} attention heads cannot share {} key/value heads evenly", where, c.num_heads,
         c.num_kv_heads);
}

std::string base_model_type(const json& config) {
  std::string type = config.value("model_type", "");
  if (type.ends_with(kSublnSuffix)) type.resize(type.size() - kSublnSuffix.size());
  return type;
}

std::string subln_model_type(const DecoderConfig& c, const std::string& base_type) {
  const bool is_bitnet = !c.qkv_bias && !c.o_bias && !c.mlp_bias && !c.qk_norm && !c.rope_scaling &&
                         c.head_dim * c.num_heads == c.hidden_size;
  return is_bitnet ? "bitnet" : base_type + std::string(kSublnSuffix);
}

DecoderConfig read_decoder_config(const json& config, const std::string& where) {
  const Keys keys(config, where);
  const std::string type = base_model_type(config);
  if (type.empty()) fail("{}: model_type is missing", where);
  const Family& family = find_family(type, where);
  refuse_what_would_be_ignored(keys);

  DecoderConfig c;
  c.vocab_size = keys.need<int64_t>("vocab_size");
  c.hidden_size = keys.need<int64_t>("hidden_size");
  c.intermediate_size = keys.need<int64_t>("intermediate_size");
  c.num_layers = keys.need<int64_t>("num_hidden_layers");
  c.num_heads = keys.need<int64_t>("num_attention_heads");
  c.num_kv_heads = keys.get("num_key_value_heads", c.num_heads);
  if (c.num_heads <= 0)
    fail("{}: num_attention_heads is {}, expected a value > 0", where, c.num_heads);
  c.head_dim = keys.get("head_dim", type == "qwen3" ? 128 : c.hidden_size / c.num_heads);
  c.max_positions = keys.get<int64_t>("max_position_embeddings", 2048);
  c.rms_norm_eps = keys.get("rms_norm_eps", family.rms_norm_eps);
  c.initializer_range = keys.get("initializer_range", 0.02);
  c.tied_head = keys.get("tie_word_embeddings", false);
  c.qkv_bias = family.qkv_bias;
  c.o_bias = family.o_bias;
  if (family.reads_biases) {
    c.qkv_bias = c.o_bias = keys.get("attention_bias", false);
    c.mlp_bias = keys.get("mlp_bias", false);
  }
  c.qk_norm = family.qk_norm;
  c.sub_norm = family.sub_norm || keys.get<std::string>("model_type", "").ends_with(kSublnSuffix);
  const auto activation = keys.get<std::string>("hidden_act", std::string(family.hidden_act));
  if (activation == "silu") {
    c.activation = Activation::kSilu;
  } else if (activation == "relu2") {
    c.activation = Activation::kRelu2;
  } else {
    fail("{}: hidden_act '{}' is not supported; supported are silu, relu2", where, activation);
  }
  read_rope(keys, family, c);
  check_decoder_config(c, where);
  return c;
}

}  // namespace wf

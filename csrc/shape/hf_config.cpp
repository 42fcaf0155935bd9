#include "shape/hf_config.h"

#include "base/error.h"
#include "shape/family.h"

namespace wf {

using nlohmann::json;

namespace {

constexpr const char* kOwnKey =
    "wrinklefree";  // ours in config.json; transformers carries unknown keys along

json rope_parameters(const DecoderConfig& c) {
  json rope = {{"rope_type", "default"}, {"rope_theta", c.rope_theta}};
  if (!c.rope_scaling) return rope;
  const auto& s = *c.rope_scaling;
  rope["factor"] = s.factor;
  if (s.kind == RopeScaling::Kind::kLinear) {
    rope["rope_type"] = "linear";
  } else {
    rope["rope_type"] = "llama3";
    rope["low_freq_factor"] = s.low_freq_factor;
    rope["high_freq_factor"] = s.high_freq_factor;
    rope["original_max_position_embeddings"] = int64_t(s.original_context);
  }
  return rope;
}

}  // namespace

bool has_own_class(const json& config) {
  return config.value("model_type", "").ends_with("_subln");
}

TrainedQuant trained_quant(const json& config) {
  if (config.contains(kOwnKey))
    return {config.at(kOwnKey).at("weight_quant").get<double>(),
            config.at(kOwnKey).at("activation_quant").get<double>()};
  const bool quantised =
      config.contains("quantization_config") && !config.at("quantization_config").is_null();
  return {quantised ? 1.0 : 0.0, quantised ? 1.0 : 0.0};
}

std::optional<bool> trained_ternary(const json& config, const std::string& where) {
  const auto [weights, activations] = trained_quant(config);
  if (weights > 0 && weights < 1)
    fail(
        "{}: the model was last trained at λ = {} and has no exact ternary form: train on until λ "
        "is 1, or keep λ at 0",
        where, weights);
  if (config.contains(kOwnKey)) return weights == 1;
  if (weights == 1 || base_model_type(config) == "bitnet") return true;
  for (const auto& name : config.value("architectures", json::array()))
    if (name == "BitNetForCausalLM" || name == "BitnetForCausalLM") return true;
  return std::nullopt;
}

json hf_config(const DecoderConfig& c, const json& source, Quantization quantization,
               double weight_quant, double activation_quant) {
  json out = source;
  out[kOwnKey] = {{"weight_quant", weight_quant}, {"activation_quant", activation_quant}};
  for (const char* dtype_key : {"dtype", "torch_dtype"}) out.erase(dtype_key);
  out["dtype"] = "float32";
  out["rms_norm_eps"] = c.rms_norm_eps;
  // Both spellings: transformers 5 reads rope_parameters, older readers rope_theta and
  // rope_scaling.
  out["rope_parameters"] = rope_parameters(c);
  out["rope_theta"] = c.rope_theta;
  out.erase("rope_scaling");
  if (c.rope_scaling) out["rope_scaling"] = out["rope_parameters"];
  if (c.sub_norm && base_model_type(source) != "bitnet" && !has_own_class(source)) {
    out["model_type"] = subln_model_type(c, base_model_type(source));
    out["hidden_act"] = c.activation == Activation::kSilu ? "silu" : "relu2";
    // What the source does not name must not become the other class's default (BitNet's 128000).
    for (const char* token : {"bos_token_id", "eos_token_id", "pad_token_id"})
      if (!out.contains(token)) out[token] = nullptr;
  }
  out.erase("auto_map");
  if (has_own_class(out)) {
    out["architectures"] = {"SubLNForCausalLM"};
    out["auto_map"] = {{"AutoConfig", "modeling_subln.SubLNConfig"},
                       {"AutoModelForCausalLM", "modeling_subln.SubLNForCausalLM"}};
  } else if (out["model_type"] == "bitnet") {
    out["architectures"] = {"BitNetForCausalLM"};
  }
  out.erase("quantization_config");
  if (quantization != Quantization::kNone)
    out["quantization_config"] = {
        {"quant_method", "bitnet"},
        {"linear_class", "autobitlinear"},
        {"quantization_mode", quantization == Quantization::kOnline ? "online" : "offline"}};
  return out;
}

}  // namespace wf

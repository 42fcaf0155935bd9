// DecoderConfig -> the config.json that transformers reads.
#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "shape/decoder_config.h"

namespace wf {

// How a folder's matrices are stored and meant to be used.
enum class Quantization {
  kNone,    // an ordinary full-precision model
  kOnline,  // float masters, quantised at every forward
  kPacked,  // uint8 codes and Δ
};

// `source` is the config.json the model came from: what it says about tokens, context and names
// stays. The class is the source's own, except that a model with SubLN becomes a BitNet where it
// fits and otherwise a class of the folder's own modelling file (has_own_class). weight_quant,
// activation_quant: the λ it was last trained with.
nlohmann::json hf_config(const DecoderConfig& config, const nlohmann::json& source,
                         Quantization quantization, double weight_quant, double activation_quant);

// The λ that hf_config wrote; 1 for foreign quantised folders, 0 for foreign full-precision ones.
struct TrainedQuant {
  double weights = 0, activations = 0;
};
TrainedQuant trained_quant(const nlohmann::json& config);

// Whether the block matrices were trained as ternary ones: by λ, quantization_config or class.
// nullopt when the configuration does not say; throws Error naming `where` for 0 < λ < 1.
std::optional<bool> trained_ternary(const nlohmann::json& config, const std::string& where);

// Whether transformers needs a modelling file beside the weights, because it has no such class.
bool has_own_class(const nlohmann::json& config);

}  // namespace wf

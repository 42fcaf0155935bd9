// Hugging Face's config.json -> DecoderConfig, one row per model_type.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "shape/decoder_config.h"

namespace wf {

// Reads a config.json of model_type llama, qwen2, qwen3, bitnet, or one of them with SubLN inserted
// ("llama_subln", ...). RoPE in both spellings (rope_theta + rope_scaling, rope_parameters). Throws
// Error, naming `where` and the key, for an unknown family, a missing or impossible value, and for
// every feature this program would ignore (sliding windows, partial rotary, unknown activations or
// rope types).
DecoderConfig read_decoder_config(const nlohmann::json& config, const std::string& where);

// Throws Error, naming `where` and the key, for values that no decoder can have.
void check_decoder_config(const DecoderConfig& config, const std::string& where);

// The model_type without SubLN: "qwen3_subln" -> "qwen3".
std::string base_model_type(const nlohmann::json& config);

// The model_type of the same family with SubLN in every block. A llama without biases is Hugging
// Face's bitnet with silu, which transformers and llama.cpp know; others get "<family>_subln",
// which the folder's own modelling file defines.
std::string subln_model_type(const DecoderConfig& config, const std::string& base_type);

}  // namespace wf

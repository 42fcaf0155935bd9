// How a tokenizer.json cuts text into words, and the name llama.cpp knows that by.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace wf {

// The value of GGUF's tokenizer.ggml.pre for a byte-level BPE. Every part that decides where words
// end is compared, not guessed from the model's name; what llama.cpp has no equal of is refused
// with an Error that names it. `file` is for messages.
std::string pre_tokenizer_name(const nlohmann::json& tokenizer, const std::string& file);

}  // namespace wf

// The modelling file that travels with a model transformers has no class for: SubLN in a qwen or a
// biased llama.
#pragma once
#include <string>

namespace wf {

inline constexpr const char* kModelingFileName = "modeling_subln.py";

// Python for model_type "<family>_subln"; family is llama, qwen2 or qwen3.
std::string modeling_file(const std::string& family);

}  // namespace wf

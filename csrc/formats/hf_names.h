// Other spellings of tensor names, and ours: Hugging Face's.
#pragma once
#include <string>

namespace wf {

// The Hugging Face name of a stored tensor: SubLN written as Sequential(norm, linear)
// ("o_proj.0.weight", "o_proj.1.weight"), and 1bitLLM's names of the sub-norms
// ("inner_attn_ln", "ffn_layernorm"). Every other name is returned as it is.
std::string hf_name(std::string stored);

}  // namespace wf

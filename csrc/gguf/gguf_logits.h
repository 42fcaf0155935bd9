// The last proof of a GGUF file: the real llama.cpp computes from it what was trained.
#pragma once
#include <filesystem>
#include <vector>

#include "formats/hf_folder.h"
#include "gguf/gguf_validate.h"

namespace wf {

// Evaluates a fixed text with llama.cpp (the command `wf logits`) and with our own forward of the
// folder, ternary weights and activations in fp32 as that engine has them, and compares. A file of
// F32 tensors must agree to kExactRel. For other types the engine rounds activations to int8 block
// by block, which no element-wise bound survives: KL and regret are bounded instead, in units of
// the model's own spread of logits and of what int8 activations do to it in training. Also compares
// the file's tokenizer with the folder's on texts that tell tokenizers apart. A Microsoft engine's
// file yields one finding that says that it could not be run.
std::vector<Finding> validate_logits(const std::filesystem::path& gguf, const HfFolder& folder,
                                     const GgufPlan& plan);

}  // namespace wf

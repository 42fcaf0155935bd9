// The reverse: a GGUF file -> a Hugging Face folder.
#pragma once
#include "gguf/gguf_plan.h"

namespace wf {

// Codes and scales exactly: packed uint8, or masters that absmean returns them from where
// transformers cannot use packed ones (biases, rows that four does not divide). Full-precision
// matrices and embeddings become F32. The tokenizer is not part of it; `companions_from`, if not
// empty, is a folder to copy it from. The folder appears only when complete.
void import_gguf(const std::filesystem::path& gguf, const std::filesystem::path& folder,
                 const std::filesystem::path& companions_from, const ShowProgress& progress);

}  // namespace wf

// What llama.cpp needs to know of a Hugging Face folder's tokenizer, as GGUF's tokenizer.* keys.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "gguf/gguf.h"

namespace wf {

struct GgufTokenizer {
  enum Type : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

  std::string model = "none";       // gpt2: byte-level BPE; llama: SentencePiece; none: ids only
  std::string pre = "default";      // how text is cut into words (gpt2 alone)
  std::vector<std::string> tokens;  // [rows], unique; rows without a token are [PADi]
  std::vector<int32_t> types;       // [rows], Type
  std::vector<float> scores;        // [rows]; llama alone
  std::vector<std::string> merges;  // "left right", the first wins; gpt2 alone
  std::map<std::string, uint32_t> special;  // bos, eos, eot, eom, unknown, padding, seperator, mask
  bool add_bos = false, add_eos = false;    // whether a text starts with BOS, ends with EOS
  bool add_space_prefix = false;
  std::string chat_template;         // Jinja; empty: none
  std::vector<std::string> notices;  // differences a person should know of
};

// Reads tokenizer.json (or tokenizer.model), tokenizer_config.json, special_tokens_map.json,
// generation_config.json, config.json and chat_template.jinja of `folder`. `rows`: of the token
// embedding. A folder without a tokenizer yields model "none". Throws Error when llama.cpp has no
// tokenizer that would give the same ids.
GgufTokenizer read_gguf_tokenizer(const std::filesystem::path& folder, int64_t rows);

// The keys, each of the type llama.cpp insists on. Model "none" is called "no_vocab" by Microsoft's
// forks; that name and the count of ids, which it needs, are the caller's.
void write_metadata(const GgufTokenizer& tokenizer, GgufMetadata& metadata);

}  // namespace wf

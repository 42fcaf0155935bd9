// Which tokens begin, end and pad a text.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <unordered_map>

namespace wf {

using TokenIds = std::unordered_map<std::string, uint32_t>;

// Adds to `special` what tokenizer_config.json, special_tokens_map.json, generation_config.json and
// config.json name, under GGUF's names (GgufTokenizer::special); what is there already stays.
// `rows`: ids from there on are no tokens. Throws Error when nothing names the end of a text.
void read_special_tokens(const std::filesystem::path& folder, const TokenIds& ids, int64_t rows,
                         std::map<std::string, uint32_t>& special);

}  // namespace wf

#include "gguf/special_tokens.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "base/error.h"
#include "formats/json.h"

namespace wf {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::optional<uint32_t> id_named(const fs::path& folder, const TokenIds& ids, const char* key) {
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    json token = read_json_or_empty(folder / name).value(key, json());
    if (token.is_object()) token = token.value("content", json());
    if (!token.is_string()) continue;
    const auto found = ids.find(token.get<std::string>());
    if (found == ids.end())
      fail("{}: {} is '{}', which is not in the vocabulary", (folder / name).string(), key,
           token.get<std::string>());
    return found->second;
  }
  return {};
}

// bos_token_id and the like; several ends are a list.
std::vector<uint32_t> ids_numbered(const fs::path& folder, int64_t rows, const char* key) {
  std::vector<uint32_t> ids;
  for (const char* name : {"generation_config.json", "config.json"}) {
    const json value = read_json_or_empty(folder / name).value(key, json());
    for (const auto& id : value.is_array() ? value : json::array({value}))
      if (id.is_number_integer() && id >= 0 && id < rows) ids.push_back(id);
    if (!ids.empty()) break;
  }
  return ids;
}

}  // namespace

void read_special_tokens(const fs::path& folder, const TokenIds& ids, int64_t rows,
                         std::map<std::string, uint32_t>& special) {
  const std::pair<const char*, const char*> names[] = {
      {"bos", "bos_token"},     {"eos", "eos_token"},       {"unknown", "unk_token"},
      {"padding", "pad_token"}, {"seperator", "sep_token"}, {"mask", "mask_token"}};
  for (const auto& [ours, theirs] : names)
    if (const auto id = id_named(folder, ids, theirs); id && !special.contains(ours))
      special[ours] = *id;
  const auto ends = ids_numbered(folder, rows, "eos_token_id");
  if (!special.contains("eos")) {
    if (ends.empty())
      fail(
          "{}: no file names the token that ends a text; add \"eos_token\" to "
          "tokenizer_config.json",
          folder.string());
    special["eos"] = ends[0];
  }
  for (const auto end : ends)
    if (end != special["eos"] && !special.contains("eom"))
      special[special.contains("eot") ? "eom" : "eot"] = end;
  if (!special.contains("bos")) {
    const auto starts = ids_numbered(folder, rows, "bos_token_id");
    // llama.cpp would take token 11 for a BOS that is not named.
    special["bos"] = starts.empty() ? special["eos"] : starts[0];
  }
}

}  // namespace wf

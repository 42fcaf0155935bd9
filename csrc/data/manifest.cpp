#include "data/manifest.h"

#include <utility>

#include "base/error.h"
#include "formats/json.h"

namespace wf {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kVersion = 1;
constexpr int64_t kMost = int64_t{1} << 48;  // a count's bytes fit an integer

template <class T>
T value(const json& section, const char* key, const std::string& where) {
  try {
    return section.at(key).get<T>();
  } catch (const json::exception&) {
    fail(
        "{}: '{}' is missing or of the wrong type: the manifest is damaged, prepare the data again",
        where, key);
  }
}

int64_t count(const json& section, const char* key, const std::string& where) {
  const auto found = value<int64_t>(section, key, where);
  if (found < 0 || found > kMost)
    fail("{}: {} is {}, not a count: the manifest is damaged, prepare the data again", where, key,
         found);
  return found;
}

}  // namespace

Manifest Manifest::read(const fs::path& folder) {
  const fs::path path = folder / "manifest.json";
  if (!fs::is_regular_file(path)) {
    if (fs::is_regular_file(folder / "train" / "manifest.json"))
      fail("{}: holds prepared folders; name one of them: {}", folder.string(),
           (folder / "train").string());
    fail("{}: no manifest.json, so not a folder that `wf data prepare` finished", folder.string());
  }
  const json file = read_json(path);
  const std::string where = path.string();

  const auto format = value<std::string>(file, "format", where);
  const auto version = value<int64_t>(file, "version", where);
  if (format != "wf-tokens" || version != kVersion)
    fail("{}: format '{}' version {}, this program reads 'wf-tokens' version {}", where, format,
         version, kVersion);
  const auto dtype = value<std::string>(file, "dtype", where);
  if (dtype != "uint16" && dtype != "uint32")
    fail("{}: dtype '{}', expected uint16 or uint32", where, dtype);

  Manifest manifest{.bytes_per_token = dtype == "uint16" ? 2 : 4,
                    .vocab_size = count(file, "vocab_size", where),
                    .eos_token_id = count(file, "eos_token_id", where),
                    .tokens = count(file, "tokens", where),
                    .documents = count(file, "documents", where),
                    .tokenizer_sha256 = value<std::string>(file, "tokenizer_sha256", where),
                    .shards = {}};
  if (manifest.eos_token_id >= manifest.vocab_size)
    fail("{}: eos_token_id {} is not below vocab_size {}", where, manifest.eos_token_id,
         manifest.vocab_size);

  uint64_t tokens = 0, documents = 0;  // unsigned: sums of damaged counts may wrap
  for (const json& shard : value<json::array_t>(file, "shards", where)) {
    const Shard& added = manifest.shards.emplace_back(
        Shard{.tokens_file = value<std::string>(shard, "tokens_file", where),
              .documents_file = value<std::string>(shard, "documents_file", where),
              .tokens = count(shard, "tokens", where),
              .documents = count(shard, "documents", where),
              .tokens_sha256 = value<std::string>(shard, "tokens_sha256", where)});
    tokens += added.tokens;
    documents += added.documents;
  }
  if (std::cmp_not_equal(tokens, manifest.tokens) ||
      std::cmp_not_equal(documents, manifest.documents))
    fail("{}: the shards add up to {} tokens and {} documents, the totals say {} and {}", where,
         tokens, documents, manifest.tokens, manifest.documents);
  return manifest;
}

}  // namespace wf

// Writing the weights and companions of a Hugging Face folder.
#include "base/error.h"
#include "formats/hf_folder.h"
#include "formats/json.h"
#include "formats/safetensors_write.h"

namespace wf {
namespace fs = std::filesystem;

namespace {

// Consecutive tensors, in the caller's order, as many as fit.
std::vector<std::vector<WritableTensor>> split(const std::vector<WritableTensor>& weights,
                                               int64_t max_shard_bytes) {
  std::vector<std::vector<WritableTensor>> shards(1);
  int64_t bytes = 0;
  for (const auto& weight : weights) {
    const auto size = static_cast<int64_t>(weight.bytes());
    if (!shards.back().empty() && bytes + size > max_shard_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(weight);
    bytes += size;
  }
  return shards;
}

}  // namespace

void write_hf_weights(const fs::path& folder, const std::vector<WritableTensor>& weights,
                      int64_t max_shard_bytes) {
  const auto shards = split(weights, max_shard_bytes);
  if (shards.size() == 1) {
    write_safetensors(folder / "model.safetensors", weights);
    return;
  }
  int64_t total_bytes = 0;
  nlohmann::json weight_map = nlohmann::json::object();
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string file = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_safetensors(folder / file, shards[i]);
    for (const auto& weight : shards[i]) {
      if (weight_map.contains(weight.name))
        fail("{}: two tensors are named '{}'", folder.string(), weight.name);
      weight_map[weight.name] = file;
      total_bytes += static_cast<int64_t>(weight.bytes());
    }
  }
  write_json(folder / "model.safetensors.index.json",
             {{"metadata", {{"total_size", total_bytes}}}, {"weight_map", weight_map}});
}

std::vector<fs::path> companions(const fs::path& folder) {
  static constexpr std::array kNames = {"tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "vocab.txt",
                                        "merges.txt",
                                        "tokenizer.model",
                                        "spiece.model",
                                        "chat_template.jinja",
                                        "chat_template.json",
                                        "generation_config.json",
                                        "additional_chat_templates"};
  std::vector<fs::path> found;
  for (const char* name : kNames)
    if (fs::exists(folder / name)) found.push_back(folder / name);
  return found;
}

void copy_companions(const fs::path& from, const fs::path& to) {
  for (const auto& file : companions(from))
    fs::copy(file, to / file.filename(),
             fs::copy_options::recursive | fs::copy_options::overwrite_existing);
}

}  // namespace wf

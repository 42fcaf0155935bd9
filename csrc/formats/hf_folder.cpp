#include "formats/hf_folder.h"

#include "base/error.h"
#include "formats/hf_names.h"
#include "formats/json.h"

namespace wf {
namespace fs = std::filesystem;

namespace {

constexpr auto kSingle = "model.safetensors";
constexpr auto kIndex = "model.safetensors.index.json";

[[noreturn]] void fail_without_weights(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path extension = entry.path().extension();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt")
      fail(
          "{}: its weights are pickled ({}), which can execute code when loaded, so they are not "
          "loaded here; convert them once, where you trust the file: python -c \"from "
          "transformers import AutoModelForCausalLM as M; "
          "M.from_pretrained('{}').save_pretrained('NEW_FOLDER')\"",
          folder.string(), entry.path().filename().string(), folder.string());
  }
  fail("{}: holds neither {} nor {}", folder.string(), kSingle, kIndex);
}

}  // namespace

nlohmann::json read_hf_config(const fs::path& folder) {
  if (!fs::is_directory(folder))
    fail("{}: no such folder; give the folder of a Hugging Face model", folder.string());
  if (!fs::exists(folder / "config.json"))
    fail("{}: has no config.json, so it is not a Hugging Face model folder", folder.string());
  nlohmann::json config = read_json(folder / "config.json");
  if (!config.is_object()) fail("{}/config.json: is not a JSON object", folder.string());
  return config;
}

HfFolder::HfFolder(const fs::path& folder) : folder_(folder), config_(read_hf_config(folder)) {
  if (fs::exists(folder / kIndex))
    open_shards();
  else if (fs::exists(folder / kSingle))
    open_single();
  else
    fail_without_weights(folder);
  rename_tensors();
}

void HfFolder::rename_tensors() {
  for (const auto& [stored, file] : file_of_) {
    const auto [at, is_new] = place_of_.try_emplace(hf_name(stored), Place{file, stored});
    if (!is_new)
      fail("{}: tensors '{}' and '{}' are two spellings of one", folder_.string(),
           at->second.stored_name, stored);
  }
}

void HfFolder::open_single() {
  files_.emplace_back(folder_ / kSingle);
  for (const auto& name : files_[0].names()) file_of_[name] = 0;
}

// The index says which shard holds which tensor; index and shards must agree in both directions.
void HfFolder::open_shards() {
  const std::string index_path = (folder_ / kIndex).string();
  const nlohmann::json index = read_json(index_path);
  const auto weight_map = index.find("weight_map");
  if (weight_map == index.end() || !weight_map->is_object())
    fail("{}: has no 'weight_map'", index_path);
  std::map<std::string, std::size_t> shards;
  for (const auto& [name, value] : weight_map->items()) {
    if (!value.is_string() || fs::path(value.get<std::string>()).has_parent_path())
      fail("{}: tensor '{}' is not mapped to a file name in the same folder", index_path, name);
    const auto shard = value.get<std::string>();
    if (!fs::exists(folder_ / shard))
      fail("{}: names shard '{}', which is missing; was the folder copied in full?", index_path,
           shard);
    const auto [at, is_new] = shards.try_emplace(shard, files_.size());
    if (is_new) files_.emplace_back(folder_ / shard);
    if (!files_[at->second].contains(name))
      fail("{}: places tensor '{}' in '{}', which does not hold it", index_path, name, shard);
    file_of_[name] = at->second;
  }
  for (std::size_t file = 0; file < files_.size(); ++file)
    for (const auto& name : files_[file].names())
      if (const auto found = file_of_.find(name); found == file_of_.end() || found->second != file)
        fail("{}: holds tensor '{}', which {} does not place there", files_[file].path().string(),
             name, kIndex);
}

std::vector<std::string> HfFolder::names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : place_of_) names.push_back(name);
  return names;
}

StoredTensor HfFolder::tensor(const std::string& name) const {
  const auto found = place_of_.find(name);
  if (found == place_of_.end()) fail("{}: has no tensor '{}'", folder_.string(), name);
  return files_[found->second.file].tensor(found->second.stored_name);
}

void HfFolder::release(const std::string& name) const {
  const Place& place = place_of_.at(name);
  files_[place.file].release(place.stored_name);
}

}  // namespace wf

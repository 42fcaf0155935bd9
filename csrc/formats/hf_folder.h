// A Hugging Face model folder: config.json, weights in one or several .safetensors files, and the
// companions (tokenizer, chat template, generation config) that travel with a model.
#pragma once
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "formats/safetensors.h"

namespace wf {

class HfFolder {
 public:
  // Opens config.json and every weight file. Throws Error naming what is missing. Pickled weights
  // (pytorch_model.bin) are refused: loading them can execute code.
  explicit HfFolder(const std::filesystem::path& folder);

  const std::filesystem::path& path() const { return folder_; }
  const nlohmann::json& config() const { return config_; }
  // Sorted, over all shards, and in Hugging Face's spelling whatever the stored one (hf_names.h).
  std::vector<std::string> names() const;
  bool contains(const std::string& name) const { return place_of_.contains(name); }
  StoredTensor tensor(const std::string& name) const;  // a view, as Safetensors::tensor
  // Gives back the memory of the pages that reading the tensor has mapped; reading maps them anew.
  void release(const std::string& name) const;

 private:
  void open_single();
  void open_shards();
  void rename_tensors();

  struct Place {
    std::size_t file;  // in files_
    std::string stored_name;
  };
  std::filesystem::path folder_;
  nlohmann::json config_;
  std::vector<Safetensors> files_;
  std::map<std::string, std::size_t> file_of_;  // stored name -> index in files_
  std::map<std::string, Place> place_of_;       // Hugging Face's name
};

// The folder's config.json; works where there are no weights (training from random values).
nlohmann::json read_hf_config(const std::filesystem::path& folder);

// Writes model.safetensors, or shards of at most `max_shard_bytes` each (one tensor may be larger)
// with model.safetensors.index.json, as `transformers` does.
inline constexpr int64_t kMaxShardBytes = 5'000'000'000;
void write_hf_weights(const std::filesystem::path& folder,
                      const std::vector<WritableTensor>& weights,
                      int64_t max_shard_bytes = kMaxShardBytes);

// The files of a folder that belong to the model but are neither weights nor config.json.
std::vector<std::filesystem::path> companions(const std::filesystem::path& folder);
void copy_companions(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace wf

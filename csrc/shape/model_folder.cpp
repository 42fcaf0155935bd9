#include "shape/model_folder.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"
#include "shape/family.h"
#include "shape/hf_config.h"
#include "shape/modeling_file.h"

namespace wf {
namespace {

std::string scale_name(const std::string& weight_name) { return weight_name + "_scale"; }

std::string first_few(const std::vector<std::string>& names) {
  const size_t shown = std::min<size_t>(names.size(), 3);
  std::string text = fmt::format("'{}'", fmt::join(names.begin(), names.begin() + shown, "', '"));
  return names.size() > shown ? fmt::format("{} and {} more", text, names.size() - shown) : text;
}

// A tied head may be stored all the same; then it must be the embedding.
void check_redundant_head(const HfFolder& folder) {
  if (!folder.contains("lm_head.weight")) return;
  const StoredTensor head = folder.tensor("lm_head.weight");
  const StoredTensor embedding = folder.tensor("model.embed_tokens.weight");
  if (head.dtype != embedding.dtype || head.shape != embedding.shape ||
      !std::ranges::equal(head.bytes, embedding.bytes))
    fail(
        "{}: config.json ties the head to the embedding, but lm_head.weight differs from it; set "
        "tie_word_embeddings to false to keep both",
        folder.path().string());
}

}  // namespace

Storage storage_of(const nlohmann::json& config, const std::string& where) {
  if (!config.contains("quantization_config") || config.at("quantization_config").is_null())
    return Storage::kLatent;
  const auto& quantization = config.at("quantization_config");
  const std::string method = quantization.value("quant_method", "");
  if (method != "bitnet")
    fail("{}: quant_method '{}' is not supported; load full-precision or bitnet folders", where,
         method);
  const std::string linear_class = quantization.value("linear_class", "bitlinear");
  if (linear_class == "autobitlinear")
    return quantization.value("quantization_mode", "offline") == "online" ? Storage::kLatent
                                                                          : Storage::kPackedMean;
  if (linear_class == "bitlinear") return Storage::kPackedInverse;
  fail("{}: linear_class '{}' is unknown; expected autobitlinear or bitlinear", where,
       linear_class);
}

DecoderConfig read_decoder_config(const HfFolder& folder) {
  DecoderConfig config =
      read_decoder_config(folder.config(), (folder.path() / "config.json").string());
  if (config.num_layers > int64_t(folder.names().size()))  // before anything grows with it
    fail("{}/config.json: num_hidden_layers is {}, but the folder holds {} tensors in all",
         folder.path().string(), config.num_layers, folder.names().size());
  config.sub_norm |= folder.contains("model.layers.0.self_attn.attn_sub_norm.weight");
  return config;
}

void check_tensor_names(const HfFolder& folder, const DecoderConfig& config,
                        const std::vector<std::string>& wanted) {
  std::set<std::string> unread;
  for (const auto& name : folder.names()) unread.insert(name);
  std::vector<std::string> missing;
  for (const auto& name : wanted) {
    if (!unread.erase(name)) missing.push_back(name);
    if (folder.contains(name) && folder.tensor(name).dtype == Dtype::kU8)
      unread.erase(scale_name(name));
  }
  if (!missing.empty())
    fail("{}: the folder lacks tensors that its config.json asks for: {}", folder.path().string(),
         first_few(missing));
  if (config.tied_head) {
    check_redundant_head(folder);
    unread.erase("lm_head.weight");
  }
  std::erase_if(unread,
                [](const std::string& name) { return name.ends_with(".rotary_emb.inv_freq"); });
  if (!unread.empty())
    fail("{}: the folder holds tensors that the model has no place for: {}", folder.path().string(),
         first_few({unread.begin(), unread.end()}));
}

float packed_scale(const HfFolder& folder, const std::string& name, Storage storage) {
  if (!folder.contains(scale_name(name)))
    fail("{}: tensor '{}' holds packed codes but '{}' is missing", folder.path().string(), name,
         scale_name(name));
  const StoredTensor stored = folder.tensor(scale_name(name));
  if (stored.numel() != 1 || !is_floating_point(stored.dtype))
    fail("{}: tensor '{}' is not one floating-point number", folder.path().string(),
         scale_name(name));
  float value = 0;
  read_floats(stored, &value);
  return storage == Storage::kPackedMean ? value : 1 / value;
}

void write_model_folder(const std::filesystem::path& folder,
                        const std::vector<WritableTensor>& weights, const nlohmann::json& config,
                        const std::filesystem::path& companions_from) {
  write_folder(folder, [&](const std::filesystem::path& out) {
    write_hf_weights(out, weights);
    write_json(out / "config.json", config);
    copy_companions(companions_from, out);
    if (has_own_class(config))
      write_text(out / kModelingFileName, modeling_file(base_model_type(config)));
  });
}

}  // namespace wf

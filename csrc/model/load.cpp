#include "model/load.h"

#include <fmt/ranges.h>
#include <torch/torch.h>

#include <set>

#include "base/error.h"
#include "model/family.h"
#include "model/packed_codes.h"
#include "ops/ternary.h"

namespace wf {

using torch::Tensor;

namespace {

std::string scale_name(const std::string& weight_name) { return weight_name + "_scale"; }

Tensor unpacked_master(const HfFolder& folder, const std::string& name, Storage storage) {
  const Tensor master = unpack_codes(folder.tensor(name));
  if (!folder.contains(scale_name(name)))
    fail("{}: tensor '{}' holds packed codes but '{}' is missing", folder.path().string(), name,
         scale_name(name));
  const Tensor stored = folder.tensor(scale_name(name)).to(torch::kFloat).reshape({});
  ops::master_from_codes_(master, storage == Storage::kPackedMean ? stored : stored.reciprocal());
  return master;
}

void copy_parameter(const HfFolder& folder, const Parameter& parameter, Storage storage) {
  const Tensor stored = folder.tensor(parameter.name);
  const bool packed = storage != Storage::kLatent && parameter.role == Role::kLinear &&
                      stored.scalar_type() == torch::kUInt8;
  const Tensor value = packed ? unpacked_master(folder, parameter.name, storage) : stored;
  if (!packed && !stored.is_floating_point())
    fail(
        "{}: tensor '{}' is {}, expected floating point (config.json has no quantization_config "
        "for it)",
        folder.path().string(), parameter.name, c10::toString(stored.scalar_type()));
  if (value.sizes() != parameter.value.sizes())
    fail("{}: tensor '{}' has shape [{}], the model expects [{}]", folder.path().string(),
         parameter.name, fmt::join(value.sizes(), ", "), fmt::join(parameter.value.sizes(), ", "));
  parameter.value.copy_(value);
}

std::string first_few(const std::vector<std::string>& names) {
  const size_t shown = std::min<size_t>(names.size(), 3);
  std::string text = fmt::format("'{}'", fmt::join(names.begin(), names.begin() + shown, "', '"));
  return names.size() > shown ? fmt::format("{} and {} more", text, names.size() - shown) : text;
}

// A tied head may be stored all the same; then it must be the embedding.
void check_redundant_head(const HfFolder& folder) {
  if (!folder.contains("lm_head.weight")) return;
  if (!torch::equal(folder.tensor("lm_head.weight"), folder.tensor("model.embed_tokens.weight")))
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
    if (folder.contains(name) && folder.tensor(name).scalar_type() == torch::kUInt8)
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

std::shared_ptr<Decoder> load_decoder(const HfFolder& folder, const LoadOptions& options) {
  const torch::NoGradGuard no_grad;
  const std::string where = (folder.path() / "config.json").string();
  DecoderConfig config = read_decoder_config(folder);
  const Storage storage = storage_of(folder.config(), where);
  if (options.insert_sub_norms && config.sub_norm)
    fail("{}: the model has sub-norms already: no insert_subln is needed, go on with training",
         where);
  config.sub_norm = config.sub_norm || options.insert_sub_norms;

  auto model = std::make_shared<Decoder>(config, options.precision);
  std::vector<std::string> wanted;
  for (const auto& parameter : model->trained_parameters())
    if (!options.insert_sub_norms || !parameter.name.ends_with("_sub_norm.weight"))
      wanted.push_back(parameter.name);
  check_tensor_names(folder, config, wanted);
  for (const auto& parameter : model->trained_parameters())
    if (folder.contains(parameter.name)) copy_parameter(folder, parameter, storage);
  return model;
}

}  // namespace wf

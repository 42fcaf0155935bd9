// What a Hugging Face folder must hold to be a decoder, and writing one.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "formats/hf_folder.h"
#include "shape/decoder_config.h"

namespace wf {

// How a folder's block matrices are stored.
enum class Storage {
  kLatent,         // plain float weights
  kPackedMean,     // uint8 codes, weight_scale = Δ      (linear_class "autobitlinear")
  kPackedInverse,  // uint8 codes, weight_scale = 1/Δ    (linear_class "bitlinear", or none)
};
Storage storage_of(const nlohmann::json& config, const std::string& where);

// The folder's shape: its config.json, and sub-norms where there are tensors for them (folders of
// 1bitLLM and of this project's predecessor say model_type llama).
DecoderConfig read_decoder_config(const HfFolder& folder);

// Throws Error naming tensors of `wanted` that the folder lacks, or tensors in it that are neither
// wanted nor implied by them (scales of packed codes, a head that is tied).
void check_tensor_names(const HfFolder& folder, const DecoderConfig& config,
                        const std::vector<std::string>& wanted);

// Δ of packed codes, whichever way round the folder stores it. Throws Error where it is missing.
float packed_scale(const HfFolder& folder, const std::string& name, Storage storage);

// A transformers folder: weights, config.json, the companions and, where transformers has no class
// for `config`, the modelling file. Appears only when complete.
void write_model_folder(const std::filesystem::path& folder,
                        const std::vector<WritableTensor>& weights, const nlohmann::json& config,
                        const std::filesystem::path& companions_from);

}  // namespace wf

// A Hugging Face folder -> a Decoder.
#pragma once
#include <memory>

#include "io/hf_folder.h"
#include "nn/decoder.h"

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

struct LoadOptions {
  Precision precision;
  // Build the model with SubLN although the folder has none; their gains stay at one (stage 1).
  bool insert_sub_norms = false;
};

// Loads every tensor; the folder and the model must match in both directions, the message names the
// first mismatches. Packed matrices become masters whose absmean returns the same codes and Δ. On
// the CPU; anonymous memory: the masters and one tensor.
std::shared_ptr<Decoder> load_decoder(const HfFolder& folder, const LoadOptions& options);

}  // namespace wf

// A Hugging Face folder -> a Decoder.
#pragma once
#include <memory>

#include "nn/decoder.h"
#include "shape/model_folder.h"

namespace wf {

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

// Writes a trained model in somebody else's format.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/named_tensor.h"
#include "nn/decoder.h"

namespace wf {

// A model and where it came from.
struct Exported {
  const Decoder& model;
  const nlohmann::json& config;           // config.json it was loaded with, trained λ included
  std::filesystem::path companions_from;  // tokenizer, chat template, generation config
};

class Exporter {
 public:
  virtual ~Exporter() = default;
  // Fills `folder`, which must not exist and appears only when complete. Throws Error when the
  // model has no exact form in this format (0 < λ < 1, for instance).
  virtual void write(const Exported& exported, const std::filesystem::path& folder) = 0;
};

// Throws Error for 0 < λ < 1, and for weights and activations trained at different λ: such a model
// is neither full precision nor ternary.
void refuse_blends(const Exported& exported);

}  // namespace wf

// Small random models as training would leave them.
#pragma once
#include <torch/torch.h>

#include "base/error.h"
#include "model/load.h"
#include "model/logits.h"
#include "shape/family.h"
#include "shape/hf_config.h"

namespace wf::test {

struct TinyModel {
  std::shared_ptr<Decoder> decoder;
  nlohmann::json config;
};

// `source`: its config.json before SubLN. `quant`: λ of weights and activations.
inline TinyModel tiny_model(const nlohmann::json& source, bool sub_norm, double quant) {
  DecoderConfig c = read_decoder_config(source, "test");
  c.sub_norm = c.sub_norm || sub_norm;
  auto decoder = std::make_shared<Decoder>(c, Precision{});
  decoder->initialize(7);
  const torch::NoGradGuard no_grad;
  torch::manual_seed(3);
  for (auto& parameter : decoder->trained_parameters())
    if (parameter.value.dim() == 1) parameter.value.add_(torch::randn_like(parameter.value) * 0.2);
  return {decoder, hf_config(c, source, quant == 1 ? Quantization::kOnline : Quantization::kNone,
                             quant, quant)};
}

inline torch::Tensor random_tokens(int64_t vocabulary, int64_t count) {
  torch::manual_seed(11);
  return torch::randint(0, vocabulary, {count});
}

inline double relative_error(const torch::Tensor& value, const torch::Tensor& truth) {
  return ((value - truth).norm() / truth.norm()).item<double>();
}

}  // namespace wf::test

#include "exporter/hf_packed.h"

#include <torch/torch.h>

#include "base/error.h"
#include "io/tensor_file.h"
#include "model/packed_codes.h"
#include "ops/ternary.h"
#include "shape/hf_config.h"
#include "shape/model_folder.h"

namespace wf {

void HfPacked::write(const Exported& exported, const std::filesystem::path& folder) {
  refuse_blends(exported);
  if (trained_quant(exported.config).weights != 1)
    fail(
        "hf_packed stores ternary codes, and this model was not trained to have any: use "
        "hf_latent");
  const DecoderConfig& c = exported.model.config();
  if (c.qkv_bias || c.o_bias || c.mlp_bias)
    fail(
        "transformers multiplies the bias of a packed matrix by the matrix's scale, so a model "
        "with biases would give "
        "other answers: use hf_latent");
  std::vector<NamedTensor> weights;
  for (const auto& parameter : exported.model.trained_parameters()) {
    if (parameter.role != Role::kLinear) {
      weights.push_back({parameter.name, parameter.value.detach().to(torch::kFloat)});
      continue;
    }
    const ops::Ternary ternary = ops::ternarize(parameter.value);
    weights.push_back({parameter.name, pack_codes(ternary.codes)});
    weights.push_back({parameter.name + "_scale", ternary.scale.to(torch::kFloat).reshape({1})});
  }
  write_model_folder(folder, writable(weights),
                     hf_config(c, exported.config, Quantization::kPacked, 1, 1),
                     exported.companions_from);
}

}  // namespace wf

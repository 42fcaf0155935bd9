#include "exporter/hf_latent.h"

#include <torch/torch.h>

#include "base/log.h"
#include "io/tensor_file.h"
#include "ops/ternary.h"
#include "shape/hf_config.h"
#include "shape/model_folder.h"

namespace wf {

namespace {

// Codes that storing the masters in bf16 changes, as a share of all codes.
void report_changed_codes(const Decoder& model) {
  int64_t changed = 0, all = 0;
  for (const auto& [name, linear] : model.bit_linears()) {
    const auto rounded = linear->weight.detach().to(torch::kBFloat16).to(torch::kFloat);
    changed += ops::ternarize(linear->weight)
                   .codes.ne(ops::ternarize(rounded).codes)
                   .sum()
                   .item<int64_t>();
    all += rounded.numel();
  }
  log::say("bf16 masters change {} of {} ternary codes ({:.3f} %)", changed, all,
           100.0 * changed / all);
}

}  // namespace

void HfLatent::write(const Exported& exported, const std::filesystem::path& folder) {
  refuse_blends(exported);
  const bool bf16 = config_.dtype == FloatType::kBf16;
  const auto [weight_quant, activation_quant] = trained_quant(exported.config);
  const bool ternary = weight_quant == 1;
  if (bf16 && ternary) report_changed_codes(exported.model);
  std::vector<NamedTensor> weights;
  for (const auto& parameter : exported.model.trained_parameters())
    weights.push_back({parameter.name, bf16 ? parameter.value.detach().to(torch::kBFloat16)
                                            : parameter.value.detach()});
  auto config = hf_config(exported.model.config(), exported.config,
                          ternary ? Quantization::kOnline : Quantization::kNone, weight_quant,
                          activation_quant);
  if (bf16) config["dtype"] = "bfloat16";
  write_model_folder(folder, writable(weights), config, exported.companions_from);
}

}  // namespace wf

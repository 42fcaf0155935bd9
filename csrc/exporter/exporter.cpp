#include "exporter/exporter.h"

#include "base/error.h"
#include "base/file.h"
#include "exporter/modeling_file.h"
#include "io/hf_folder.h"
#include "io/json.h"
#include "model/family.h"
#include "model/hf_config.h"

namespace wf {

void write_model_folder(const std::filesystem::path& folder,
                        const std::vector<NamedTensor>& weights, const nlohmann::json& config,
                        const std::filesystem::path& companions_from) {
  write_folder(folder, [&](const std::filesystem::path& out) {
    write_hf_weights(out, weights);
    write_json(out / "config.json", config);
    copy_companions(companions_from, out);
    if (has_own_class(config))
      write_text(out / kModelingFileName, modeling_file(base_model_type(config)));
  });
}

void refuse_blends(const Exported& exported) {
  const auto [weights, activations] = trained_quant(exported.config);
  for (const double quant : {weights, activations})
    if (quant > 0 && quant < 1)
      fail(
          "the model was last trained at λ = {} and has no exact ternary form: train on until λ is "
          "1, or keep λ at 0",
          quant);
}

}  // namespace wf

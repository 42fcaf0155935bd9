#include "exporter/exporter.h"

#include "base/error.h"
#include "shape/hf_config.h"

namespace wf {

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

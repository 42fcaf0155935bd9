#include "exporter/exporter.h"

#include "base/error.h"
#include "shape/hf_config.h"

namespace wf {

void refuse_blends(const Exported& exported) {
  const auto [weights, activations] = trained_quant(exported.config);
  if (weights != activations)
    fail(
        "the model was last trained at λ = {} for weights and {} for activations, which no class "
        "of transformers computes: train on with both at 1, or both at 0",
        weights, activations);
  if (weights > 0 && weights < 1)
    fail(
        "the model was last trained at λ = {} and has no exact ternary form: train on until λ is "
        "1, or keep λ at 0",
        weights);
}

}  // namespace wf

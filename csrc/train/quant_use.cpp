#include "train/quant_use.h"

namespace wf {

QuantUse quant_use(const QuantConfig& quant, int64_t steps) {
  QuantUse use;
  for (int64_t step = 0; step < steps; ++step) {
    const double weights = quant.weights.at(step, steps),
                 activations = quant.activations.at(step, steps);
    use.quantised |= weights > 0;
    ((weights == 1) != (activations == 1) ? use.mixed
     : weights == 1                       ? use.codes
                                          : use.blend) = true;
  }
  return use;
}

}  // namespace wf

// Which strengths of the quantisers the steps of a run have.
#pragma once
#include "train/run_config.h"

namespace wf {

struct QuantUse {
  bool codes = false;      // steps with both λ at 1
  bool blend = false;      // steps with both below
  bool mixed = false;      // steps with one of them at 1: codes meet full-precision operands
  bool quantised = false;  // steps whose weights are ternary in part at least
};

QuantUse quant_use(const QuantConfig& quant, int64_t steps);

}  // namespace wf

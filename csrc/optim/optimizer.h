// Updates parameters from their gradients.
#pragma once
#include <vector>

#include "io/state.h"
#include "nn/parameter.h"

namespace wf {

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // Raises the version counter of every parameter it writes: BitLinear prepares a weight again when
  // it has changed.
  // lr: the schedule's value now; groups multiply it. coefficient: 0-dim fp32 beside the gradients,
  // multiplies all of them (clipping); undefined: 1; not finite: the step changes no parameter.
  virtual void step(double lr, const torch::Tensor& coefficient = {}) = 0;
  virtual void state(StateVisitor& visit) = 0;
};

}  // namespace wf

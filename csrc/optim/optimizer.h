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
  virtual void step(double lr) = 0;  // lr: the schedule's value now; groups multiply it
  virtual void state(StateVisitor& visit) = 0;
};

}  // namespace wf

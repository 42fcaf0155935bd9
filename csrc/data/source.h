// Where batches come from.
#pragma once
#include "data/batch.h"
#include "io/state.h"

namespace wf {

class DataSource {
 public:
  virtual ~DataSource() = default;
  virtual Batch next() = 0;  // endless; this rank's share only; on the CPU
  virtual void state(
      StateVisitor& visit) = 0;  // position after the last next(), so that resume is exact
};

}  // namespace wf

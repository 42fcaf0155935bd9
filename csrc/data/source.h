// Where batches come from.
#pragma once
#include <vector>

#include "data/batch.h"
#include "io/state.h"

namespace wf {

class TokenShards;

class DataSource {
 public:
  virtual ~DataSource() = default;
  virtual Batch next() = 0;  // endless; this rank's share only; on the CPU
  // Position after the last next(), so that resume is exact.
  virtual void state(StateVisitor& visit) = 0;
  // Every prepared folder that next() can reach: evaluation data has to be none of them.
  virtual std::vector<const TokenShards*> corpora() const = 0;
};

}  // namespace wf

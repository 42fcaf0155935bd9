// What the student minimises.
#pragma once
#include <torch/types.h>

#include <string>
#include <utility>
#include <vector>

#include "data/batch.h"
#include "nn/pass.h"

namespace wf {

// Where the run is. The loop owns time; everybody else is told.
struct Progress {
  int64_t step = 0;  // 0 .. steps-1
  int64_t steps = 0;
  int64_t tokens = 0;  // trained on before this step, over all ranks
};

struct Loss {
  torch::Tensor total;  // 0-dim, differentiable: the mean over the batch's valid labels
  std::vector<std::pair<std::string, torch::Tensor>> parts;  // for the log; 0-dim, detached
};

class Objective {
 public:
  virtual ~Objective() = default;
  virtual Taps taps() const { return {}; }
  virtual bool needs_teacher() const { return false; }
  // `teacher` is empty unless needs_teacher().
  virtual Loss loss(const Trace& student, const Trace& teacher, const Batch& batch,
                    const Progress& now) = 0;
};

}  // namespace wf

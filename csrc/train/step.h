// One optimizer step: the straight line from batches to updated weights.
#pragma once
#include <vector>

#include "data/source.h"
#include "nn/decoder.h"
#include "objective/objective.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "parallel/context.h"

namespace wf {

struct StepReport {
  double loss = 0;       // mean over all ranks' valid labels
  double grad_norm = 0;  // before clipping
  std::vector<std::pair<std::string, double>> parts;
  int64_t tokens = 0;  // of all ranks
  bool stop = false;   // some rank was asked to stop
};

class Step {
 public:
  // Borrows everything; `teacher` may be null when the objective needs none.
  struct Players {
    Decoder& student;
    Decoder* teacher;
    Objective& objective;
    DataSource& data;
    Optimizer& optimizer;
    Clip& clip;
    ParallelContext& parallel;
    std::vector<Parameter> parameters;  // whose gradients are reduced, clipped and used
    int64_t accumulate;
  };
  explicit Step(Players players) : players_(std::move(players)) {}

  // Throws Error before the weights change when the loss or a gradient is not finite, naming both.
  StepReport run(const Progress& now, double lr, const Pass& pass);

 private:
  torch::Tensor backward(const Batch& batch, double share, const Progress& now, const Pass& pass,
                         std::vector<std::string>& names);

  Players players_;
};

}  // namespace wf

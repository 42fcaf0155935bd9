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
  int64_t tokens = 0;  // of all ranks
  bool stop = false;   // some rank was asked to stop
  // fp64 on the device: the gradient norm before clipping, the loss (mean over all ranks' valid
  // labels), the loss's parts. Step::read waits for them.
  torch::Tensor values;
  std::vector<std::string> part_names;
};

struct StepNumbers {
  double loss = 0, grad_norm = 0;
  std::vector<std::pair<std::string, double>> parts;
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

  // Starts the work of one step and does not wait for a GPU. From a step on whose loss or gradient
  // is not finite no weight changes any more; the host learns of it one or more steps later, and
  // whichever call notices throws Error, naming that step and tensor.
  StepReport run(const Progress& now, double lr, const Pass& pass);

  // Waits for the step's numbers.
  StepNumbers read(const StepReport& report);
  void require_finite();

 private:
  void stop_if_not_finite(const Progress& now, const torch::Tensor& values, Clip::Result& clip);
  torch::Tensor backward(const Batch& batch, double share, const Progress& now, const Pass& pass,
                         std::vector<std::string>& names);

  Players players_;
  torch::Tensor halted_;       // fp64 0-dim: the first step that was not finite, or -1
  torch::Tensor halted_host_;  // the same, as far as it has come to the host
  torch::Tensor culprit_;      // that step's values and then each gradient's norm
};

}  // namespace wf

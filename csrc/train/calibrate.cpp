#include "train/calibrate.h"

#include <torch/torch.h>

#include "base/log.h"
#include "objective/logits_kl.h"
#include "ops/rms_norm.h"
#include "optim/adamw.h"
#include "optim/schedule.h"
#include "train/step.h"

namespace wf {

using torch::Tensor;

namespace {

const Pass kFullPrecision{.taps = {}, .weight_quant = 0, .activation_quant = 0};

// Σ x·n and Σ n² per channel over the tokens seen, n the normalised row of a·x.
struct LeastSquares {
  Tensor cross, square;  // [K] fp64

  void add(const Tensor& x, const Tensor& scale, double eps) {
    const Tensor wide = x.detach().to(torch::kFloat);
    const Tensor normed = ops::rms_norm(wide * scale, torch::ones_like(scale), eps);
    const Tensor c = (wide * normed).sum(0, false, torch::kDouble),
                 s = normed.square().sum(0, false, torch::kDouble);
    cross = cross.defined() ? cross + c : c;
    square = square.defined() ? square + s : s;
  }

  // A channel that was never active keeps its gain of one.
  void write(RmsNorm& norm, ParallelContext& parallel) {
    parallel.all_reduce_sum(cross);
    parallel.all_reduce_sum(square);
    const torch::NoGradGuard no_grad;
    norm.weight.copy_(torch::where(square > 0, cross / square, torch::ones_like(square)));
  }
};

}  // namespace

void fit_gains(Decoder& student, Decoder& original, const ChannelScales& scales, DataSource& data,
               int64_t rows, ParallelContext& parallel) {
  const torch::NoGradGuard no_grad;
  const double eps = student.config().rms_norm_eps;
  const size_t layers = student.blocks().size();
  Pass pass = kFullPrecision;
  for (size_t i = 0; i < layers; ++i) pass.taps.blocks.push_back(int64_t(i));
  std::vector<LeastSquares> attention(layers), feed_forward(layers);
  for (int64_t seen = 0; seen < rows;) {
    const Batch batch = data.next().to(parallel.device());
    seen += batch.tokens.size(0) * parallel.size();
    const Trace trace = original.forward(batch, pass);
    for (size_t i = 0; i < layers; ++i) {
      attention[i].add(trace.blocks[i].o_input, scales.o_input[i], eps);
      feed_forward[i].add(trace.blocks[i].down_input, scales.down_input[i], eps);
    }
  }
  for (size_t i = 0; i < layers; ++i) {
    attention[i].write(*student.blocks()[i]->self_attn->attn_sub_norm, parallel);
    feed_forward[i].write(*student.blocks()[i]->mlp->ffn_sub_norm, parallel);
  }
}

void train_gains(Decoder& student, Decoder& original, DataSource& data, int64_t steps, double lr,
                 ParallelContext& parallel) {
  std::vector<Parameter> gains;
  for (const auto& parameter : student.trained_parameters()) {
    const bool gain = parameter.name.ends_with("_sub_norm.weight");
    parameter.value.set_requires_grad(gain);
    if (gain) gains.push_back(parameter);
  }
  LogitsKl objective({});
  AdamW optimizer(AdamW::Config{}, gains);
  Clip clip({}, gains);
  Step step({.student = student,
             .teacher = &original,
             .objective = objective,
             .data = data,
             .optimizer = optimizer,
             .clip = clip,
             .parallel = parallel,
             .parameters = gains,
             .accumulate = 1});
  const Schedule schedule{.kind = Schedule::Kind::kCosine, .value = lr, .final = 0.0};
  for (int64_t i = 0; i < steps; ++i) {
    const StepReport report =
        step.run({.step = i, .steps = steps, .tokens = 0}, schedule.at(i, steps), kFullPrecision);
    if (i == 0 || (i + 1) % 25 == 0 || i + 1 == steps)
      log::say("gains, step {}/{}: KL to the original {:.4f}", i + 1, steps,
               step.read(report).loss);
  }
  for (const auto& parameter : student.trained_parameters())
    parameter.value.set_requires_grad(true);
}

}  // namespace wf

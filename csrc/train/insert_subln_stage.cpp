// Stage 1: a full-precision model gets SubLN. Takes minutes; its result is a checkpoint at step 0.
#include <torch/torch.h>

#include "base/error.h"
#include "base/log.h"
#include "data/prefetch.h"
#include "model/load.h"
#include "shape/hf_config.h"
#include "train/calibrate.h"
#include "train/estimate.h"
#include "train/evaluate.h"
#include "train/metrics.h"
#include "train/run_folder.h"
#include "train/stage.h"
#include "train/target.h"

namespace wf {

namespace {

struct Losses {
  double full, ternary;  // at λ = 0 and λ = 1
};

}  // namespace

Outcome insert_subln_stage(const StageInput& input) {
  const RunConfig& config = input.config;
  const int64_t held_before = input.hardware.memory_in_use();
  const HfFolder source(find_model_folder(config.model.path));
  const auto original = load_decoder(source, {.precision = input.hardware.precision});
  const bool insert = config.insert.sub_norms == SubNorms::kOAndDown;
  const auto student =
      load_decoder(source, {.precision = input.hardware.precision, .insert_sub_norms = insert});
  require_target(student->config(), config.target);
  original->to(input.hardware.device);
  student->to(input.hardware.device);

  const DataShape shape = data_shape(config, *student, input.parallel);
  const bool calibrate = insert && config.insert.gains == Gains::kCalibrated;
  std::unique_ptr<DataSource> data = calibrate ? config.data->build(shape) : nullptr;
  std::optional<HeldOut> held_out;
  if (!config.evaluate.path.empty()) {
    held_out.emplace(config.evaluate.path, config.evaluate.tokens, shape);
    if (data) check_separate(held_out->corpus(), *data);
  }
  report_memory(estimate_insertion(*student, *original, config), held_before, input.hardware);
  if (input.dry_run) {
    log::say("dry run: model, data and target fit together; nothing was written");
    return Outcome::kDone;
  }
  RunFolder run(config, input.parallel);
  if (const auto done = run.newest()) {
    log::say("stage {} is finished: {}; remove the folder to do it again", config.name,
             done->folder.string());
    return Outcome::kDone;
  }

  Metrics metrics(run.metrics_file(), input.parallel.rank() == 0);
  const auto report = [&](const char* what, Decoder& model) {
    if (!held_out) return;
    const Losses losses{evaluate(model, *held_out, 0, input.parallel),
                        evaluate(model, *held_out, 1, input.parallel)};
    log::say("{:<28} held-out loss: λ = 0 {:.4f}, λ = 1 {:.4f}", what, losses.full, losses.ternary);
    metrics.write("eval", {{"step", 0},
                           {"tokens", 0},
                           {"model", what},
                           {"loss_full", losses.full},
                           {"loss_ternary", losses.ternary}});
  };
  report("original", *original);
  if (insert) report("SubLN with gains of one", *student);
  if (calibrate) {
    const ChannelScales scales = config.insert.balance_steps > 0
                                     ? balance_channels(*student, *original, *data,
                                                        config.insert.balance_steps, input.parallel)
                                     : ChannelScales::ones(*student);
    fit_gains(*student, *original, scales, *data, config.insert.calibration_rows, input.parallel);
    report("gains in closed form", *student);
    train_gains(*student, *original, *data, config.insert.calibration_steps,
                config.insert.calibration_lr, input.parallel);
    report("gains trained", *student);
  }

  Checkpoint checkpoint;
  checkpoint.config = hf_config(student->config(), source.config(), Quantization::kNone, 0, 0);
  checkpoint.weights = named_weights(*student);
  checkpoint.companions_from = source.path();
  run.save(std::move(checkpoint));
  return Outcome::kDone;
}

}  // namespace wf

// Every training stage: pre-training, continued pre-training, distillation differ in their
// configuration only.
#include <torch/torch.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "data/prefetch.h"
#include "model/load.h"
#include "shape/family.h"
#include "shape/hf_config.h"
#include "train/estimate.h"
#include "train/evaluate.h"
#include "train/kernel_choice.h"
#include "train/layer_statistics.h"
#include "train/narrator.h"
#include "train/profile.h"
#include "train/run_folder.h"
#include "train/stage.h"
#include "train/step.h"
#include "train/target.h"

namespace wf {

namespace {

namespace fs = std::filesystem;

std::shared_ptr<Decoder> make_model(const RunConfig& config, const fs::path& folder, bool resumed,
                                    const Precision& precision) {
  if (resumed || config.model.init == InitKind::kWeights)
    return load_decoder(HfFolder(folder), {.precision = precision});
  auto model = std::make_shared<Decoder>(
      read_decoder_config(read_hf_config(folder), (folder / "config.json").string()), precision);
  model->initialize(uint64_t(config.seed));
  return model;
}

// Random weights need a config.json only, which is no run folder's.
fs::path starting_folder(const ModelConfig& model) {
  return model.init == InitKind::kRandom ? fs::path(model.path) : find_model_folder(model.path);
}

class Training {
 public:
  Training(const StageInput& input, const fs::path& model_folder, bool resumed);

  void describe() const;
  void resume_from(const SavedCheckpoint& checkpoint);
  Outcome run(RunFolder& folder);

 private:
  void state(StateVisitor& visit);
  Pass pass_at(int64_t step) const;
  std::optional<double> evaluate_now();  // the held-out loss of what the run trains, if asked for
  void save(RunFolder& folder, const Pass& pass, std::optional<double> held_out_loss);

  const StageInput& in_;
  const RunConfig& config_;
  const int64_t held_before_;  // bytes in use on the device before there is a model
  fs::path model_folder_;      // where the weights, config.json and tokenizer came from
  nlohmann::json source_config_;
  std::shared_ptr<Decoder> model_, teacher_;
  std::unique_ptr<Objective> objective_;
  std::unique_ptr<DataSource> data_;
  std::optional<HeldOut> held_out_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Clip> clip_;
  std::optional<LayerWatch> layers_;  // of a run that gets to ternary weights
  Progress now_;
  KernelChoice kernels_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<Narrator> narrator_;
};

Training::Training(const StageInput& in, const fs::path& model_folder, bool resumed)
    : in_(in),
      config_(in.config),
      held_before_(in.hardware.memory_in_use()),
      model_folder_(model_folder),
      source_config_(read_hf_config(model_folder)) {
  model_ = make_model(config_, model_folder, resumed, in.hardware.precision);
  require_target(model_->config(), config_.target);
  objective_ = config_.objective.build();
  if (objective_->needs_teacher()) {
    teacher_ = load_decoder(HfFolder(find_model_folder(config_.teacher)),
                            {.precision = in.hardware.precision});
    if (teacher_->config().vocab_size != model_->config().vocab_size)
      fail("teacher {} has a vocabulary of {}, the student of {}", config_.teacher,
           teacher_->config().vocab_size, model_->config().vocab_size);
    teacher_->to(in.hardware.device);
  }
  const DataShape shape = data_shape(config_, *model_, in.parallel);
  data_ = std::make_unique<Prefetch>(config_.data->build(shape));
  if (!config_.evaluate.path.empty()) {
    held_out_.emplace(config_.evaluate.path, config_.evaluate.tokens, shape);
    check_separate(held_out_->corpus(), *data_);
  }
  model_->to(in.hardware.device);
  kernels_ = choose_kernels(config_, in.hardware, model_->config());
  model_->set_int8(kernels_.int8);
  optimizer_ = config_.optimizer.build(model_->trained_parameters());
  clip_ = std::make_unique<Clip>(config_.clip, model_->trained_parameters());
  if (pass_at(config_.steps - 1).weight_quant > 0) layers_.emplace(*model_);
  now_.steps = config_.steps;
}

void Training::describe() const {
  const DecoderConfig& c = model_->config();
  int64_t parameters = 0, ternary = 0;
  for (const auto& parameter : model_->trained_parameters()) {
    parameters += parameter.value.numel();
    if (parameter.role == Role::kLinear) ternary += parameter.value.numel();
  }
  const int64_t step_tokens = config_.batch.rows * config_.batch.sequence_length *
                              config_.batch.accumulate * in_.parallel.size();
  log::say("model: {} ({}), {:.2f} M parameters, {:.2f} M of them in {} ternary matrices{}",
           model_folder_.string(), source_config_.value("model_type", "?"),
           double(parameters) / 1e6, double(ternary) / 1e6, model_->bit_linears().size(),
           c.sub_norm ? ", SubLN" : "");
  log::say("run: {} steps of {} tokens on {} process{}, {:.2f} M tokens in all; {} + {}",
           config_.steps, step_tokens, in_.parallel.size(), in_.parallel.size() == 1 ? "" : "es",
           double(config_.steps * step_tokens) / 1e6, config_.objective.kind(),
           config_.optimizer.kind());
  log::say("{}", kernels_.text);
  report_memory(estimate_training(*model_, teacher_.get(), config_, kernels_.int8.forward),
                held_before_, in_.hardware);
}

// Everything a run needs to go on, weights apart.
void Training::state(StateVisitor& visit) {
  visit("step", now_.step);
  visit("tokens", now_.tokens);
  optimizer_->state(visit);
  clip_->state(visit);
  data_->state(visit);
  if (layers_) layers_->state(visit);
}

void Training::resume_from(const SavedCheckpoint& checkpoint) {
  StateLoader load = load_state(checkpoint.folder);
  state(load);
  load.finish();
  log::say("resuming from {}", checkpoint.folder.string());
}

Pass Training::pass_at(int64_t step) const {
  return {.taps = objective_->taps(),
          .weight_quant = config_.quant.weights.at(step, config_.steps),
          .activation_quant = config_.quant.activations.at(step, config_.steps),
          .recompute_blocks = config_.recompute,
          .noise_seed = uint64_t(config_.seed)};
}

std::optional<double> Training::evaluate_now() {
  if (!held_out_) return std::nullopt;
  const double full = evaluate(*model_, *held_out_, 0, in_.parallel);
  std::optional<double> ternary;
  if (pass_at(config_.steps - 1).weight_quant > 0)
    ternary = evaluate(*model_, *held_out_, 1, in_.parallel);
  narrator_->evaluated(now_, full, ternary);
  return ternary.value_or(full);
}

void Training::save(RunFolder& folder, const Pass& pass, std::optional<double> held_out_loss) {
  Checkpoint checkpoint;
  checkpoint.step = now_.step;
  checkpoint.loss = held_out_loss;
  const bool ternary = pass.weight_quant == 1 && pass.activation_quant == 1;
  checkpoint.config = hf_config(model_->config(), source_config_,
                                ternary ? Quantization::kOnline : Quantization::kNone,
                                pass.weight_quant, pass.activation_quant);
  checkpoint.weights = named_weights(*model_);
  state(checkpoint.state);
  checkpoint.companions_from = model_folder_;
  folder.save(std::move(checkpoint));
}

Outcome Training::run(RunFolder& folder) {
  metrics_ = std::make_unique<Metrics>(folder.metrics_file(), in_.parallel.rank() == 0);
  metrics_->write("start", {{"step", now_.step}, {"steps", config_.steps}, {"name", config_.name}});
  narrator_ = std::make_unique<Narrator>(
      in_.hardware, *metrics_, flops_per_token(model_->config(), config_.batch.sequence_length),
      now_.step, config_.steps);
  Step step({.student = *model_,
             .teacher = teacher_.get(),
             .objective = *objective_,
             .data = *data_,
             .optimizer = *optimizer_,
             .clip = *clip_,
             .parallel = in_.parallel,
             .parameters = model_->trained_parameters(),
             .accumulate = config_.batch.accumulate});
  // What is left for the host is small: waking ATen's threads for a copy of a batch takes longer.
  if (in_.hardware.device.is_cuda()) at::set_num_threads(1);
  if (now_.step == 0) evaluate_now();

  bool stop = false;
  while (now_.step < config_.steps && !stop) {
    const Pass pass = pass_at(now_.step);
    const double lr = config_.lr.at(now_.step, config_.steps);
    const int64_t done = now_.step + 1;
    std::optional<Profile> profile;
    if (done == config_.log.profile_step && in_.parallel.rank() == 0) profile.emplace();
    const StepReport report = step.run(now_, lr, pass);
    if (profile) profile->save(folder.metrics_file().replace_filename("trace.json"));
    const bool last = done == config_.steps;
    stop = report.stop;
    const bool log_now = last || stop || done % config_.log.every == 0;
    narrator_->after_step(report.tokens);
    // Reading waits for a GPU; on a CPU the work is done and the live line can follow every step.
    if (log_now || !in_.hardware.device.is_cuda())
      narrator_->report(now_, report.tokens, step.read(report), lr, pass.weight_quant, log_now);
    now_.step = done;
    now_.tokens += report.tokens;
    if (layers_ && (last || done % config_.log.layers_every == 0)) {
      nlohmann::ordered_json list = nlohmann::ordered_json::array();
      for (const auto& s : layers_->look())
        list.push_back({{"name", s.name},
                        {"zero_fraction", s.zero_fraction},
                        {"flip_rate", s.flip_rate},
                        {"scale", s.scale},
                        {"scale_drift", s.scale_drift}});
      metrics_->write("layers", {{"step", done}, {"layers", list}});
    }
    const bool evaluating = last || (done % config_.evaluate.every == 0 && !stop);
    const bool saving = last || stop || done % config_.checkpoint.every == 0;
    if (evaluating || saving) step.require_finite();
    std::optional<double> held_out_loss;
    if (evaluating) held_out_loss = evaluate_now();
    if (saving) save(folder, pass, held_out_loss);
  }
  metrics_->write("end", {{"step", now_.step}, {"tokens", now_.tokens}, {"stopped", stop}});
  return stop && now_.step < config_.steps ? Outcome::kPreempted : Outcome::kDone;
}

}  // namespace

Outcome train_stage(const StageInput& input) {
  const RunConfig& config = input.config;
  std::optional<RunFolder> run;  // none for a dry run, which writes nothing, not even a lock
  std::optional<SavedCheckpoint> checkpoint;
  if (!input.dry_run) {
    run.emplace(config, input.parallel);
    checkpoint = run->newest();
  } else if (const auto saved = list_checkpoints(run_path(config)); !saved.empty()) {
    checkpoint = saved.back();
  }
  if (checkpoint && checkpoint->step >= config.steps) {
    log::say("run {} is finished at step {}: {}; raise steps to train on", config.name,
             checkpoint->step, checkpoint->folder.string());
    return Outcome::kDone;
  }
  if (checkpoint) check_same_run(config, *checkpoint);
  Training training(input, checkpoint ? checkpoint->folder : starting_folder(config.model),
                    checkpoint.has_value());
  training.describe();
  if (checkpoint) training.resume_from(*checkpoint);
  if (!run) {
    log::say("dry run: model and data fit together; nothing was trained");
    return Outcome::kDone;
  }
  const Outcome outcome = training.run(*run);
  if (outcome == Outcome::kPreempted) log::say("stopped; the same command goes on from here");
  return outcome;
}

}  // namespace wf

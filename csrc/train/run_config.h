// The whole of a YAML file. Names everybody's Config; each component receives its own and nothing
// else.
#pragma once
#include <fmt/format.h>

#include <array>
#include <optional>
#include <string>

#include "checkpoint/retention.h"
#include "config/load.h"
#include "data/registry.h"
#include "exporter/registry.h"
#include "objective/registry.h"
#include "optim/clip.h"
#include "optim/registry.h"
#include "optim/schedule.h"

namespace wf {

enum class StageKind { kTrain, kInsertSubln, kExport };
enum class DeviceKind { kAuto, kCpu, kCuda };
enum class ComputeKind { kAuto, kFp32, kBf16, kFp64 };
enum class TernaryProducts { kInt8, kInt8Forward, kReference };
enum class WeightGradient { kInt8, kBf16 };
enum class InitKind { kWeights, kRandom };
enum class SubNorms { kOAndDown, kNone };
enum class Gains { kOnes, kCalibrated };
enum class Target { kNone, kTransformers, kLlamaCpp, kMicrosoft };

template <>
inline constexpr auto config::names<StageKind> =
    std::array{std::pair{std::string_view("train"), StageKind::kTrain},
               std::pair{std::string_view("insert_subln"), StageKind::kInsertSubln},
               std::pair{std::string_view("export"), StageKind::kExport}};
template <>
inline constexpr auto config::names<DeviceKind> =
    std::array{std::pair{std::string_view("auto"), DeviceKind::kAuto},
               std::pair{std::string_view("cpu"), DeviceKind::kCpu},
               std::pair{std::string_view("cuda"), DeviceKind::kCuda}};
template <>
inline constexpr auto config::names<ComputeKind> =
    std::array{std::pair{std::string_view("auto"), ComputeKind::kAuto},
               std::pair{std::string_view("fp32"), ComputeKind::kFp32},
               std::pair{std::string_view("bf16"), ComputeKind::kBf16},
               std::pair{std::string_view("fp64"), ComputeKind::kFp64}};
template <>
inline constexpr auto config::names<TernaryProducts> =
    std::array{std::pair{std::string_view("int8"), TernaryProducts::kInt8},
               std::pair{std::string_view("int8_forward"), TernaryProducts::kInt8Forward},
               std::pair{std::string_view("reference"), TernaryProducts::kReference}};
template <>
inline constexpr auto config::names<WeightGradient> =
    std::array{std::pair{std::string_view("int8"), WeightGradient::kInt8},
               std::pair{std::string_view("bf16"), WeightGradient::kBf16}};
template <>
inline constexpr auto config::names<InitKind> =
    std::array{std::pair{std::string_view("weights"), InitKind::kWeights},
               std::pair{std::string_view("random"), InitKind::kRandom}};
template <>
inline constexpr auto config::names<SubNorms> =
    std::array{std::pair{std::string_view("o_and_down"), SubNorms::kOAndDown},
               std::pair{std::string_view("none"), SubNorms::kNone}};
template <>
inline constexpr auto config::names<Gains> =
    std::array{std::pair{std::string_view("ones"), Gains::kOnes},
               std::pair{std::string_view("calibrated"), Gains::kCalibrated}};
template <>
inline constexpr auto config::names<Target> =
    std::array{std::pair{std::string_view("none"), Target::kNone},
               std::pair{std::string_view("transformers"), Target::kTransformers},
               std::pair{std::string_view("llama.cpp"), Target::kLlamaCpp},
               std::pair{std::string_view("microsoft"), Target::kMicrosoft}};

struct ModelConfig {
  std::string path;
  InitKind init = InitKind::kWeights;
  static constexpr auto fields() {
    using C = ModelConfig;
    return config::fields<C>(
        config::field<&C::path>("Hugging Face folder, or the run folder of an earlier stage",
                                config::required, config::non_empty),
        config::field<&C::init>("weights of the folder, or random ones for its config.json"));
  }
};

struct BatchConfig {
  int64_t rows = 8;
  int64_t sequence_length = 512;
  int64_t accumulate = 1;
  static constexpr auto fields() {
    using C = BatchConfig;
    return config::fields<C>(
        config::field<&C::rows>("sequences of one process and micro-step", config::positive),
        config::field<&C::sequence_length>("tokens of a sequence", config::positive),
        config::field<&C::accumulate>("micro-steps whose gradients make one optimizer step",
                                      config::positive));
  }
};

struct QuantConfig {
  Schedule weights, activations;
  static constexpr auto fields() {
    using C = QuantConfig;
    return config::fields<C>(
        config::field<&C::weights>("λ of the weights: 0 full precision, 1 ternary"),
        config::field<&C::activations>("λ of the activations: 0 full precision, 1 int8"));
  }
  void validate(auto problem) const {
    const auto check = [&](const std::string& key, const Schedule& lambda) {
      constexpr auto kRange = "λ is from 0 to 1";
      if (lambda.value > 1) problem(key + ".value", kRange);
      if (lambda.start > 1) problem(key + ".start", kRange);
      if (lambda.final.value_or(0) > 1) problem(key + ".final", kRange);
      for (const double multiple : lambda.values)
        if (lambda.value * multiple > 1) problem(key + ".values", kRange);
    };
    check("weights", weights);
    check("activations", activations);
  }
};

struct EvaluateConfig {
  std::string path;
  int64_t every = 100;
  int64_t tokens = 65536;
  static constexpr auto fields() {
    using C = EvaluateConfig;
    return config::fields<C>(
        config::field<&C::path>("held-out folder that `wf data prepare` made; empty for none"),
        config::field<&C::every>(
            "steps between evaluations; the end of the run is always evaluated", config::positive),
        config::field<&C::tokens>("tokens of the held-out folder to use", config::positive));
  }
};

struct LogConfig {
  int64_t every = 10;
  int64_t layers_every = 100;
  int64_t profile_step = 0;
  static constexpr auto fields() {
    using C = LogConfig;
    return config::fields<C>(
        config::field<&C::every>("steps between lines of the log and of metrics.jsonl",
                                 config::positive),
        config::field<&C::layers_every>("steps between statistics of every layer",
                                        config::positive),
        config::field<&C::profile_step>(
            "this step is recorded in trace.json of the run folder, for "
            "`wf profile`; 0 for none",
            config::non_negative));
  }
};

struct CheckpointConfig {
  int64_t every = 500;
  Retention::Config retention;
  static constexpr auto fields() {
    using C = CheckpointConfig;
    return config::fields<C>(
        config::field<&C::every>("steps between checkpoints; the last step always gets one",
                                 config::positive),
        config::field<&C::retention>("which checkpoints stay"));
  }
};

struct InsertConfig {
  SubNorms sub_norms = SubNorms::kOAndDown;
  Gains gains = Gains::kCalibrated;
  int64_t balance_steps = 100;
  int64_t calibration_rows = 16;
  int64_t calibration_steps = 100;
  double calibration_lr = 1e-2;
  static constexpr auto fields() {
    using C = InsertConfig;
    return config::fields<C>(
        config::field<&C::sub_norms>("where norms go: before o_proj and down_proj, or nowhere"),
        config::field<&C::gains>("of the new norms: ones, or fitted to the original model"),
        config::field<&C::balance_steps>(
            "calibrated: batches from which the channels before the new norms get scales, so that "
            "the norms take less away; 0 leaves v_proj and up_proj as they are",
            config::non_negative),
        config::field<&C::calibration_rows>("sequences for the closed form", config::positive),
        config::field<&C::calibration_steps>("steps that train the gains alone",
                                             config::non_negative),
        config::field<&C::calibration_lr>("their learning rate at the start", config::positive));
  }
};

struct RunConfig {
  std::string name;
  std::string folder = "run";
  StageKind stage = StageKind::kTrain;
  Target target = Target::kNone;
  DeviceKind device = DeviceKind::kAuto;
  ComputeKind compute = ComputeKind::kAuto;
  TernaryProducts precision = TernaryProducts::kInt8;
  WeightGradient weight_gradient = WeightGradient::kInt8;
  std::vector<int64_t> bf16_weight_gradient_layers;
  bool deterministic = false;
  int64_t seed = 1;
  ModelConfig model;
  std::optional<config::Choice<data_sources>> data;
  BatchConfig batch;
  int64_t steps = 1000;
  Schedule lr = {.kind = Schedule::Kind::kCosine, .value = 1e-3, .warmup_steps = 50, .final = 0.0};
  QuantConfig quant;
  config::Choice<objectives> objective{"cross_entropy"};
  std::string teacher;
  config::Choice<optimizers> optimizer{"adamw"};
  Clip::Config clip;
  bool recompute = false;
  EvaluateConfig evaluate;
  LogConfig log;
  CheckpointConfig checkpoint;
  InsertConfig insert;
  config::Choice<exporters> exporter{"hf_latent"};

  static constexpr auto fields() {
    using C = RunConfig;
    return config::fields<C>(
        config::field<&C::name>("names the run folder", config::required, config::non_empty),
        config::field<&C::folder>("where run folders are"), config::field<&C::stage>("what to do"),
        config::field<&C::target>(
            "who has to load the result; what it cannot is refused before the run"),
        config::field<&C::device>("where to compute; auto: the GPU if there is one"),
        config::field<&C::compute>(
            "of activations and matmuls; auto: bf16 on a GPU, fp32 on a CPU"),
        config::field<&C::precision>(
            "products of ternary linears on a Hopper GPU at λ = 1: int8 in forward and backward, "
            "in "
            "forward only, or the plain operations that serve everywhere else"),
        config::field<&C::weight_gradient>("with precision int8: what dW is computed in"),
        config::field<&C::bf16_weight_gradient_layers>(
            "blocks, counted from 0, whose dW stays bf16 all the same"),
        config::field<&C::deterministic>(
            "the same bits in every run on a GPU; attention's backward becomes slower"),
        config::field<&C::seed>("of random weights and of stochastic rounding"),
        config::field<&C::model>("what to start from"), config::field<&C::data>("what to train on"),
        config::field<&C::batch>("how much of it at once"),
        config::field<&C::steps>("optimizer steps", config::positive),
        config::field<&C::lr>("learning rate"),
        config::field<&C::quant>("strength of the quantisers"),
        config::field<&C::objective>("what the student minimises"),
        config::field<&C::teacher>("folder of the teacher, for objectives that need one"),
        config::field<&C::optimizer>("how gradients become updates"),
        config::field<&C::clip>("ceiling of the gradient norm"),
        config::field<&C::recompute>(
            "keep only the blocks' inputs and compute the rest again in backward"),
        config::field<&C::evaluate>("held-out loss during training"),
        config::field<&C::log>("what is written how often"),
        config::field<&C::checkpoint>("when to save and what to keep"),
        config::field<&C::insert>("stage insert_subln: the new norms"),
        config::field<&C::exporter>("stage export: the format"));
  }

  void validate(auto problem) const {
    if (!lr.problem(steps).empty()) problem("lr", lr.problem(steps));
    if (!quant.weights.problem(steps).empty())
      problem("quant.weights", quant.weights.problem(steps));
    if (!quant.activations.problem(steps).empty())
      problem("quant.activations", quant.activations.problem(steps));
    const bool reads_data = stage == StageKind::kTrain || (stage == StageKind::kInsertSubln &&
                                                           insert.gains == Gains::kCalibrated &&
                                                           insert.sub_norms != SubNorms::kNone);
    if (reads_data && !data) problem("data", "this stage needs data; name it with a kind");
    if (stage == StageKind::kTrain && objective.kind() == "logits_kl" && teacher.empty())
      problem("teacher", "this objective needs a teacher: name its folder");
    if (stage == StageKind::kTrain && objective.kind() != "logits_kl" && !teacher.empty())
      problem("teacher", fmt::format("objective {} has no use for a teacher", objective.kind()));
    if (log.profile_step > steps) problem("log.profile_step", "the run ends before this step");
    if (stage == StageKind::kInsertSubln && model.init == InitKind::kRandom)
      problem("model.init", "insert_subln starts from weights");
  }
};

}  // namespace wf

#include "train/run_folder.h"

#include <torch/torch.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/log.h"

namespace wf {

namespace fs = std::filesystem;

std::vector<NamedTensor> named_weights(const Decoder& model) {
  std::vector<NamedTensor> all;
  for (const auto& parameter : model.trained_parameters())
    all.push_back({parameter.name, parameter.value.detach()});
  return all;
}

fs::path run_path(const RunConfig& config) { return fs::path(config.folder) / config.name; }

void check_same_run(const RunConfig& config, const SavedCheckpoint& checkpoint) {
  // What makes the rest of the run another run, or what it saved of no use to it: a frozen role has
  // no moments, a run that ends in full precision watches no codes. Other keys (log, checkpoint,
  // evaluate, ...) may change.
  static constexpr std::array kFixed = {"stage",      "model.",  "data.",          "batch.", "seed",
                                        "objective.", "teacher", "optimizer.kind", "compute"};
  const fs::path file = checkpoint.folder / "run.yaml";
  const auto before = config::parse<RunConfig>(read_text(file), file.string());
  const auto ends_ternary = [](const RunConfig& run) {
    return run.quant.weights.at(run.steps - 1, run.steps) > 0;
  };
  const bool other_end = ends_ternary(before) != ends_ternary(config);
  const auto is_wrong = [&](const config::Change& change) {
    const std::string_view key = change.key;
    if (key.starts_with("quant.weights.")) return other_end;
    if (key.starts_with("optimizer.roles.lr_multiplier."))
      return change.before == "0.0" || change.after == "0.0";
    return std::ranges::any_of(kFixed,
                               [&](std::string_view fixed) { return key.starts_with(fixed); });
  };
  std::string refused;
  for (const auto& change : config::changes(before, config)) {
    log::say("changed since {}: {}", checkpoint.folder.filename().string(), change.str());
    if (is_wrong(change)) refused += "\n  " + change.str();
  }
  if (!refused.empty())
    fail(
        "{}: this run cannot be continued with a changed{}\nundo the change, or give the new run "
        "another name",
        run_path(config).string(), refused);
}

DataShape data_shape(const RunConfig& config, const Decoder& model,
                     const ParallelContext& parallel) {
  return {.batch_size = config.batch.rows,
          .sequence_length = config.batch.sequence_length,
          .rank = parallel.rank(),
          .size = parallel.size(),
          .vocab_size = model.config().vocab_size};
}

RunFolder::RunFolder(const RunConfig& config, ParallelContext& parallel)
    : config_(config), parallel_(parallel), path_(run_path(config)) {
  if (parallel.rank() == 0) {
    fs::create_directories(path_);
    lock_ =
        std::make_unique<FileLock>(path_ / "lock", fmt::format("run folder {}", path_.string()));
  }
  parallel.barrier();
}

std::optional<SavedCheckpoint> RunFolder::newest() const {
  torch::Tensor step = torch::full({1}, -1, torch::kLong);
  if (parallel_.rank() == 0)
    if (const auto found = newest_checkpoint(path_)) step.fill_(found->step);
  step = step.to(parallel_.device());
  parallel_.broadcast(step, 0);
  for (const auto& saved : list_checkpoints(path_))
    if (saved.step == step.item<int64_t>()) return saved;
  return std::nullopt;
}

void RunFolder::save(Checkpoint checkpoint) {
  if (parallel_.rank() == 0) {
    checkpoint.run_yaml = config::print_config(config_);
    const auto saved = save_checkpoint(path_, checkpoint);
    log::say("saved {}", saved.folder.string());
    remove_expired(path_, config_.checkpoint.retention);
  }
  parallel_.barrier();
}

}  // namespace wf

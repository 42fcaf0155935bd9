#include "checkpoint/checkpoint.h"

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "checkpoint/leftovers.h"
#include "formats/json.h"
#include "formats/manifest.h"
#include "io/tensor_file.h"

namespace wf {
namespace fs = std::filesystem;

namespace {

constexpr auto kTensors = "optimizer.safetensors";
constexpr auto kNumbers = "state.json";

}  // namespace

SavedCheckpoint save_checkpoint(const fs::path& run_folder, const Checkpoint& checkpoint,
                                int64_t max_shard_bytes) {
  const fs::path folder =
      checkpoints_folder(run_folder) / fmt::format("step-{:08}", checkpoint.step);
  remove_leftovers(checkpoints_folder(run_folder));
  write_folder(folder, [&](const fs::path& partial) {
    write_json(partial / "config.json", checkpoint.config);
    write_hf_weights(partial, writable(checkpoint.weights), max_shard_bytes);
    write_safetensors(partial / kTensors, checkpoint.state.tensors());
    write_json(partial / kNumbers, checkpoint.state.numbers());
    write_text(partial / "run.yaml", checkpoint.run_yaml);
    if (!checkpoint.companions_from.empty()) copy_companions(checkpoint.companions_from, partial);
    write_manifest(partial, checkpoint.step, checkpoint.loss);
  });
  return {folder, checkpoint.step, checkpoint.loss};
}

std::optional<SavedCheckpoint> newest_checkpoint(const fs::path& run_folder) {
  auto saved = list_checkpoints(run_folder);
  std::vector<std::pair<fs::path, std::string>> damaged;  // folder, what is wrong
  for (; !saved.empty(); saved.pop_back()) {
    try {
      verify_checkpoint(saved.back().folder);
      break;
    } catch (const Error& problem) {
      damaged.emplace_back(saved.back().folder, problem.what());
    }
  }
  if (damaged.empty() && saved.empty()) return std::nullopt;
  if (saved.empty())
    fail("{}: no checkpoint is intact ({}); move the folder away to start over",
         checkpoints_folder(run_folder).string(), damaged.front().second);
  for (const auto& [folder, problem] : damaged) {
    log::say("checkpoint is damaged: {}; it is set aside as {}.damaged, and {} is taken instead",
             problem, folder.filename().string(), saved.back().folder.filename().string());
    set_aside(folder, ".damaged");
  }
  return saved.back();
}

StateLoader load_state(const fs::path& checkpoint_folder) {
  return StateLoader(checkpoint_folder / kTensors, checkpoint_folder / kNumbers);
}

}  // namespace wf

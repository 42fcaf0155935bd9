// A training run at one step, on disk: a Hugging Face folder (weights, config.json, tokenizer) with
// optimizer.safetensors and state.json (everything that was visited), run.yaml (the configuration)
// and manifest.json (sizes and checksums of all the others). Nothing in it can execute.
#pragma once
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "formats/hf_folder.h"
#include "formats/saved_checkpoint.h"
#include "io/state_file.h"

namespace wf {

// What goes into a checkpoint. Tensors are referred to, not copied.
struct Checkpoint {
  int64_t step = 0;
  std::optional<double> loss;  // on held-out data, where measured: retention keeps the lowest
  nlohmann::json config;       // config.json
  std::vector<NamedTensor> weights;
  StateSaver state;  // optimizer, data position, counters
  std::string run_yaml;
  std::filesystem::path companions_from;  // folder whose tokenizer files travel along
};

// Writes RUN/checkpoints/step-00001000 and returns it. It appears complete or not at all, whatever
// interrupts the writing. One rank of a run calls this.
SavedCheckpoint save_checkpoint(const std::filesystem::path& run_folder,
                                const Checkpoint& checkpoint,
                                int64_t max_shard_bytes = kMaxShardBytes);

// The newest checkpoint that verifies. Newer ones that do not are reported and renamed to
// step-....damaged, so that training can write those steps anew. Throws Error when there are
// checkpoints and none verifies: starting over must be a decision. One rank of a run calls this.
std::optional<SavedCheckpoint> newest_checkpoint(const std::filesystem::path& run_folder);

// Gives back what was saved as Checkpoint::state.
StateLoader load_state(const std::filesystem::path& checkpoint_folder);

}  // namespace wf

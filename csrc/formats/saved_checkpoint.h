// The checkpoints of a training run, as they lie on the disk.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace wf {

struct SavedCheckpoint {
  std::filesystem::path folder;  // opens as an HfFolder
  int64_t step = 0;
  std::optional<double> loss;
};

// RUN/checkpoints
std::filesystem::path checkpoints_folder(const std::filesystem::path& run_folder);

// All of a run's checkpoints by ascending step; none where nothing was saved yet.
std::vector<SavedCheckpoint> list_checkpoints(const std::filesystem::path& run_folder);

// Compares every file with the manifest; throws Error naming the first that differs.
void verify_checkpoint(const std::filesystem::path& folder);

// `path` when it is a model folder itself; the newest checkpoint when it is a run folder. Throws
// Error otherwise.
std::filesystem::path find_model_folder(const std::filesystem::path& path);

}  // namespace wf

#include "checkpoint/checkpoint.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "checkpoint/leftovers.h"
#include "checkpoint/manifest.h"
#include "io/json.h"
#include "io/safetensors_write.h"

namespace wf {
namespace fs = std::filesystem;

namespace {

constexpr auto kTensors = "optimizer.safetensors";
constexpr auto kNumbers = "state.json";

fs::path checkpoints_folder(const fs::path& run_folder) { return run_folder / "checkpoints"; }

std::optional<int64_t> step_of(const fs::path& folder) {
  const std::string name = folder.filename().string();
  const std::string prefix = "step-", digits = name.substr(std::min(name.size(), prefix.size()));
  if (!name.starts_with(prefix) || digits.empty() || digits.size() > 18 ||
      digits.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return std::stoll(digits);
}

// A manifest that cannot be read is verify_checkpoint's to report: here the loss is just unknown.
std::optional<double> loss_of(const fs::path& folder) {
  try {
    return read_manifest(folder).loss;
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

SavedCheckpoint save_checkpoint(const fs::path& run_folder, const Checkpoint& checkpoint,
                                int64_t max_shard_bytes) {
  const fs::path folder =
      checkpoints_folder(run_folder) / fmt::format("step-{:08}", checkpoint.step);
  remove_leftovers(checkpoints_folder(run_folder));
  write_folder(folder, [&](const fs::path& partial) {
    write_json(partial / "config.json", checkpoint.config);
    write_hf_weights(partial, checkpoint.weights, max_shard_bytes);
    write_safetensors(partial / kTensors, checkpoint.state.tensors());
    write_json(partial / kNumbers, checkpoint.state.numbers());
    write_text(partial / "run.yaml", checkpoint.run_yaml);
    if (!checkpoint.companions_from.empty()) copy_companions(checkpoint.companions_from, partial);
    write_manifest(partial, checkpoint.step, checkpoint.loss);
  });
  return {folder, checkpoint.step, checkpoint.loss};
}

std::vector<SavedCheckpoint> list_checkpoints(const fs::path& run_folder) {
  std::vector<SavedCheckpoint> found;
  if (!fs::exists(checkpoints_folder(run_folder))) return found;
  for (const auto& entry : fs::directory_iterator(checkpoints_folder(run_folder)))
    if (const auto step = step_of(entry.path()))
      found.push_back({entry.path(), *step, loss_of(entry.path())});
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

void verify_checkpoint(const fs::path& folder) {
  for (const auto& [name, listed] : read_manifest(folder).files) {
    const fs::path file = folder / name;
    if (!fs::is_regular_file(file)) fail("{}: is missing", file.string());
    if (fs::file_size(file) != listed.bytes)
      fail("{}: has {} bytes, was saved with {}", file.string(), fs::file_size(file), listed.bytes);
    if (sha256_hex_of_file(file) != listed.sha256)
      fail("{}: its bytes have changed since it was saved (SHA-256 differs)", file.string());
  }
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

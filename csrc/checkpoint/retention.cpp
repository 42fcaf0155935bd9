#include "checkpoint/retention.h"

#include <algorithm>
#include <limits>

#include "checkpoint/leftovers.h"

namespace wf {

std::vector<SavedCheckpoint> expired(const std::vector<SavedCheckpoint>& saved,
                                     const Retention::Config& config) {
  if (saved.empty()) return {};
  const auto loss = [](const SavedCheckpoint& checkpoint) {
    return checkpoint.loss.value_or(std::numeric_limits<double>::infinity());
  };
  const auto best = std::min_element(
      saved.begin(), saved.end(), [&](const auto& a, const auto& b) { return loss(a) < loss(b); });
  const auto first_of_last =
      saved.end() - std::clamp<int64_t>(config.keep_last, 1, static_cast<int64_t>(saved.size()));
  std::vector<SavedCheckpoint> result;
  for (auto it = saved.begin(); it != first_of_last; ++it) {
    const bool is_best = config.keep_best && it == best && it->loss;
    const bool is_milestone = config.keep_every > 0 && it->step % config.keep_every == 0;
    if (!is_best && !is_milestone) result.push_back(*it);
  }
  return result;
}

void remove_expired(const std::filesystem::path& run_folder, const Retention::Config& config) {
  for (const auto& checkpoint : expired(list_checkpoints(run_folder), config))
    remove_folder(checkpoint.folder);
}

}  // namespace wf

#include "formats/saved_checkpoint.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "formats/manifest.h"

namespace wf {
namespace fs = std::filesystem;

namespace {

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

fs::path checkpoints_folder(const fs::path& run_folder) { return run_folder / "checkpoints"; }

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

fs::path find_model_folder(const fs::path& path) {
  if (fs::exists(path / "config.json")) return path;
  if (!fs::is_directory(path))
    fail("{}: no such folder; name a Hugging Face folder or a run folder", path.string());
  const auto saved = list_checkpoints(path);
  if (saved.empty())
    fail(
        "{}: neither a model folder (no config.json) nor a run folder with checkpoints: has the "
        "earlier stage finished?",
        path.string());
  verify_checkpoint(saved.back().folder);
  return saved.back().folder;
}

}  // namespace wf

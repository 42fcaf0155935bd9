// manifest.json, the last file of a checkpoint to be written: what the others must be.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace wf {

struct CheckpointManifest {
  struct File {
    uint64_t bytes = 0;
    std::string sha256;
  };
  int64_t step = 0;
  std::optional<double> loss;
  std::map<std::string, File> files;  // path inside the checkpoint -> what it must be
};

// Lists every file now in `folder`.
void write_manifest(const std::filesystem::path& folder, int64_t step, std::optional<double> loss);

// Throws Error when it is missing or is not a manifest.
CheckpointManifest read_manifest(const std::filesystem::path& folder);

}  // namespace wf

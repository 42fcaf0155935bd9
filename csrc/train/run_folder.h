// run/<name>/: lock, metrics.jsonl, checkpoints/. And how a stage finds what an earlier one left.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>

#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "nn/decoder.h"
#include "parallel/context.h"
#include "train/run_config.h"

namespace wf {

// The masters as they go into a checkpoint.
std::vector<NamedTensor> named_weights(const Decoder& model);

std::filesystem::path run_path(const RunConfig& config);

// Refuses to resume when the configuration that `checkpoint` was made with differs where it would
// be wrong, and reports the other differences key by key.
void check_same_run(const RunConfig& config, const SavedCheckpoint& checkpoint);

// What this rank reads for `model`.
DataShape data_shape(const RunConfig& config, const Decoder& model,
                     const ParallelContext& parallel);

class RunFolder {
 public:
  // Creates the folder and locks it against a second process, on rank 0.
  RunFolder(const RunConfig& config, ParallelContext& parallel);

  std::filesystem::path metrics_file() const { return path_ / "metrics.jsonl"; }

  // The newest complete checkpoint, the same on every rank.
  std::optional<SavedCheckpoint> newest() const;

  // Rank 0 writes, retention removes what is no longer wanted, every rank returns when it is done.
  void save(Checkpoint checkpoint);

 private:
  const RunConfig& config_;
  ParallelContext& parallel_;
  std::filesystem::path path_;
  std::unique_ptr<FileLock> lock_;
};

}  // namespace wf

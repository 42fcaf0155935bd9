// What a run will take, before it is started.
#pragma once
#include "nn/decoder.h"
#include "train/hardware.h"
#include "train/run_config.h"

namespace wf {

// Bytes on one device at the moment of a training step that takes most. A count of the tensors that
// the operations save, without what the allocator loses.
struct MemoryEstimate {
  int64_t weights = 0;      // masters, prepared operands, the codes that the log compares with
  int64_t teacher = 0;      // its masters
  int64_t optimizer = 0;    // moments
  int64_t gradients = 0;    // those there are at that moment
  int64_t activations = 0;  // kept for backward by then, and the largest passing buffers
  int64_t total() const { return weights + teacher + optimizer + gradients + activations; }
};

// Of the stage `train`. `teacher`: null for none. `kernels`: they serve the model's blocks.
MemoryEstimate estimate_training(const Decoder& model, const Decoder* teacher,
                                 const RunConfig& config, bool kernels);

// Of the stage `insert_subln`: `student` has the new norms, `original` is what it was made of.
MemoryEstimate estimate_insertion(const Decoder& student, const Decoder& original,
                                  const RunConfig& config);

// A line for the log, and a warning when it is more than the machine has.
// `held_before`: bytes that were in use before there was a model.
void report_memory(const MemoryEstimate& memory, int64_t held_before, const Hardware& hardware);

}  // namespace wf

// What a run will take, before it is started.
#pragma once
#include "nn/decoder.h"
#include "train/run_config.h"

namespace wf {

struct MemoryEstimate {
  int64_t weights = 0;  // masters and prepared operands
  int64_t gradients = 0;
  int64_t optimizer = 0;    // moments
  int64_t activations = 0;  // kept for backward by one micro-step, and the largest passing buffers
  int64_t total() const { return weights + gradients + optimizer + activations; }
};

// Bytes on one device at the peak of a training step. A count of the tensors that the operations
// save, without what the allocator loses.
// `kernels`: the int8 kernels serve its blocks.
MemoryEstimate estimate_memory(const Decoder& model, const RunConfig& config, bool kernels);

}  // namespace wf

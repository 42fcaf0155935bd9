// What the run computes on.
#pragma once
#include <torch/types.h>

#include <optional>
#include <string>

#include "nn/precision.h"
#include "train/run_config.h"

namespace wf {

struct Hardware {
  torch::Device device = torch::kCPU;
  Precision precision;
  std::string name;  // "NVIDIA H200", "Intel Xeon Platinum ..."
  std::optional<double>
      peak_flops;  // dense bf16, by the vendor's sheet; empty when the device is not known

  // One line: device, driver, number formats, what serves the matmuls.
  std::string describe() const;

  // Bytes in use now on the device (this process's resident memory on a CPU), and all there are.
  int64_t memory_in_use() const;
  int64_t memory_total() const;
};

// Throws Error, in one sentence, for a GPU that was asked for and is not usable: none there, a
// driver that is too old, a build without CUDA.
Hardware choose_hardware(DeviceKind device, ComputeKind compute, int local_rank);

}  // namespace wf

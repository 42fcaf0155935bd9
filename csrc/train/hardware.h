// What the run computes on.
#pragma once
#include <torch/types.h>

#include <optional>
#include <string>

#include "nn/precision.h"
#include "train/run_config.h"

namespace wf {

// A GPU as its driver describes it; versions as CUDA counts them, 13000 for 13.0.
struct Gpu {
  std::string name = "the GPU";  // "NVIDIA H200"
  int capability = 0;            // 90 for 9.0; 0 where CUDA finds no GPU
  int driver = 0;                // the newest CUDA that the driver runs
};

// What of this program a GPU runs. `remark` is one sentence, empty when everything does.
struct GpuSupport {
  bool usable = false;
  bool bf16 = false;
  bool kernels = false;  // those in cuda/
  std::string remark;
};
// `wheel_cuda`: the CUDA that LibTorch was built with.
GpuSupport gpu_support(const Gpu& gpu, int wheel_cuda);

// What matmuls are computed in on that GPU, or on a CPU. Throws Error for bf16 on a GPU without.
ComputeKind choose_compute(ComputeKind asked, bool on_gpu, const GpuSupport& gpu);

struct Hardware {
  torch::Device device = torch::kCPU;
  Precision precision;
  bool kernels = false;  // whether those in cuda/ run on it
  std::string name;      // "NVIDIA H200", "Intel Xeon Platinum ..."
  std::string remark;    // what of it is not used, and why; empty for nothing
  std::optional<double>
      peak_flops;  // dense bf16, by the vendor's sheet; empty when the device is not known

  // One line: device, driver, number formats.
  std::string describe() const;

  // Bytes in use now on the device (this process's resident memory on a CPU), and all there are.
  int64_t memory_in_use() const;
  int64_t memory_total() const;
  // Up to what memory_in_use may grow: of a CPU's memory the system and other processes have a
  // part.
  int64_t memory_within_reach() const;
};

// Throws Error, in one sentence, for a GPU that was asked for and is not usable: none there, a
// driver that is too old, a build without CUDA; with device=auto the CPU is taken and the sentence
// is the remark.
Hardware choose_hardware(DeviceKind device, ComputeKind compute, int local_rank);

}  // namespace wf

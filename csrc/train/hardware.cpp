#include "train/hardware.h"

#include <torch/torch.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "base/error.h"

#ifdef WF_CUDA
#include <cuda_runtime_api.h>
#endif

namespace wf {

namespace {

// Value of the first "key : value" line of a /proc file.
std::string proc_value(const char* file, std::string_view key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key))
      return line.substr(line.find_first_not_of(" \t", line.find(':') + 1));
  return "unknown";
}

#ifdef WF_CUDA
struct Peak {
  std::string_view name;
  double flops;  // dense bf16 with fp32 accumulation, vendors' sheets
};
constexpr std::array kPeaks = {Peak{"NVIDIA H100 80GB HBM3", 989e12}, Peak{"NVIDIA H200", 989e12},
                               Peak{"NVIDIA H100 PCIe", 756e12}, Peak{"NVIDIA A100", 312e12},
                               Peak{"NVIDIA GeForce RTX 4090", 165e12}};

constexpr int kDriverNeeded = 13000;  // CUDA 13.0, driver 580: what the torch wheel is built for

// Why no GPU can be used; empty when one can.
std::string gpu_problem() {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
    return "no NVIDIA driver was found";
  if (driver < kDriverNeeded)
    return fmt::format(
        "the driver supports CUDA {}.{}, this LibTorch needs 13.0: update the driver to 580 or "
        "later, or run with "
        "device=cpu",
        driver / 1000, driver % 1000 / 10);
  if (!torch::cuda::is_available()) return "the driver is there, but CUDA finds no usable GPU";
  return {};
}

void use_gpu(Hardware& out, int local_rank) {
  if (local_rank >= int(torch::cuda::device_count()))
    fail(
        "rank {} of this host has no GPU of its own: there are {}; start as many processes as GPUs",
        local_rank, torch::cuda::device_count());
  cudaSetDevice(local_rank);
  out.device = torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(local_rank));
  cudaDeviceProp properties{};
  cudaGetDeviceProperties(&properties, local_rank);
  out.name = properties.name;
  for (const Peak& peak : kPeaks)
    if (out.name.starts_with(peak.name)) out.peak_flops = peak.flops;
}
#else
std::string gpu_problem() {
  return "this build has no CUDA: configure with the preset 'cuda' (needs nvcc), or run with "
         "device=cpu";
}
void use_gpu(Hardware&, int) {}
#endif

}  // namespace

Hardware choose_hardware(DeviceKind device, ComputeKind compute, int local_rank) {
  Hardware out;
  const std::string problem = device == DeviceKind::kCpu ? "device=cpu" : gpu_problem();
  if (device == DeviceKind::kCuda && !problem.empty()) fail("device=cuda: {}", problem);
  if (problem.empty()) {
    use_gpu(out, local_rank);
  } else {
    out.name = proc_value("/proc/cpuinfo", "model name");
  }
  using enum ComputeKind;
  if (compute == kAuto) compute = out.device.is_cuda() ? kBf16 : kFp32;
  out.precision.master = compute == kFp64 ? torch::kDouble : torch::kFloat;
  out.precision.compute = compute == kFp64   ? torch::kDouble
                          : compute == kBf16 ? torch::kBFloat16
                                             : torch::kFloat;
  return out;
}

std::string Hardware::describe() const {
  const char* format = precision.compute == torch::kBFloat16 ? "bf16 compute, fp32 masters"
                       : precision.compute == torch::kDouble ? "fp64"
                                                             : "fp32";
#ifdef WF_CUDA
  if (device.is_cuda()) {
    int driver = 0;
    cudaDriverGetVersion(&driver);
    return fmt::format("device: {} ({:.0f} GB), driver for CUDA {}.{}; {}; matmuls by ATen", name,
                       double(memory_total()) / 1e9, driver / 1000, driver % 1000 / 10, format);
  }
#endif
  return fmt::format("device: CPU, {}, {} threads ({:.0f} GB); {}; matmuls by ATen", name,
                     torch::get_num_threads(), double(memory_total()) / 1e9, format);
}

int64_t Hardware::memory_in_use() const {
#ifdef WF_CUDA
  if (device.is_cuda()) {
    size_t available = 0, total = 0;
    cudaMemGetInfo(&available, &total);
    return int64_t(total - available);
  }
#endif
  return std::stoll(proc_value("/proc/self/status", "VmRSS")) * 1024;
}

int64_t Hardware::memory_total() const {
#ifdef WF_CUDA
  if (device.is_cuda()) {
    size_t available = 0, total = 0;
    cudaMemGetInfo(&available, &total);
    return int64_t(total);
  }
#endif
  return int64_t(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
}

}  // namespace wf

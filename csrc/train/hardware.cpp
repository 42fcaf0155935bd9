#include "train/hardware.h"

#include <torch/torch.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "base/error.h"

#ifdef WF_CUDA
#include <ATen/detail/CUDAHooksInterface.h>
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

// This rank's GPU is made the current one; `out` stays on the CPU where there is none to use.
GpuSupport use_gpu(Hardware& out, int local_rank) {
  Gpu gpu;
  if (cudaDriverGetVersion(&gpu.driver) != cudaSuccess || gpu.driver == 0)
    return {.remark = "no NVIDIA driver was found"};
  if (const int count = torch::cuda::device_count(); count > 0 && local_rank >= count)
    fail(
        "rank {} of this host has no GPU of its own: there are {}; start as many processes as GPUs",
        local_rank, count);
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, local_rank) == cudaSuccess) {
    gpu.name = properties.name;
    gpu.capability = 10 * properties.major + properties.minor;
  }
  const int wheel = int(at::detail::getCUDAHooks().versionCUDART());
  GpuSupport support = gpu_support(gpu, wheel);
  if (!support.usable) return support;
  cudaSetDevice(local_rank);
  out.device = torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(local_rank));
  out.name = gpu.name;
  for (const Peak& peak : kPeaks)
    if (out.name.starts_with(peak.name)) out.peak_flops = peak.flops;
  return support;
}
#else
GpuSupport use_gpu(Hardware&, int) {
  return {.remark = "this build has no CUDA (the preset 'cuda' has, and needs nvcc)"};
}
#endif

}  // namespace

GpuSupport gpu_support(const Gpu& gpu, int wheel_cuda) {
  // CUDA's major versions, and the first driver of each. Within one, an older driver will do.
  constexpr std::array kDrivers = {std::pair{12, 525}, std::pair{13, 580}};
  constexpr int kOldest = 75, kFirstBf16 = 80;  // what CUDA 13 compiles for; native bf16
  constexpr int kHopper = 90;                   // wgmma is there and on no later GPU

  const int major = wheel_cuda / 1000;
  if (gpu.driver / 1000 < major) {
    std::string needed;
    for (const auto& [cuda, driver] : kDrivers)
      if (cuda == major) needed = fmt::format(" to {} or later", driver);
    return {
        .remark = fmt::format(
            "the driver runs CUDA up to {}.{} and this LibTorch needs {}.{}: update the driver{}",
            gpu.driver / 1000, gpu.driver % 1000 / 10, major, wheel_cuda % 1000 / 10, needed)};
  }
  if (gpu.capability == 0) return {.remark = "the driver is there, but CUDA finds no usable GPU"};
  if (gpu.capability < kOldest)
    return {.remark = fmt::format(
                "{} has compute capability {}.{}, and LibTorch for CUDA {} starts at {}.{}",
                gpu.name, gpu.capability / 10, gpu.capability % 10, major, kOldest / 10,
                kOldest % 10)};
  GpuSupport out;
  out.usable = true;
  out.bf16 = gpu.capability >= kFirstBf16;
  out.kernels = gpu.capability == kHopper;
  if (!out.kernels)
    out.remark = fmt::format(
        "{} trains through LibTorch's operations in {}; the kernels of this program need Hopper "
        "(H100, H200)",
        gpu.name, out.bf16 ? "bf16" : "fp32, having no bf16");
  return out;
}

ComputeKind choose_compute(ComputeKind asked, bool on_gpu, const GpuSupport& gpu) {
  using enum ComputeKind;
  if (asked == kAuto) return on_gpu && gpu.bf16 ? kBf16 : kFp32;
  if (asked == kBf16 && on_gpu && !gpu.bf16)
    fail("compute=bf16: {}; leave compute at auto, or set fp32", gpu.remark);
  return asked;
}

Hardware choose_hardware(DeviceKind device, ComputeKind compute, int local_rank) {
  Hardware out;
  GpuSupport gpu;
  if (device != DeviceKind::kCpu) gpu = use_gpu(out, local_rank);
  if (device == DeviceKind::kCuda && !gpu.usable)
    fail("device=cuda: {}; or run with device=cpu", gpu.remark);
  if (!out.device.is_cuda()) out.name = proc_value("/proc/cpuinfo", "model name");
  out.remark = gpu.remark;
  out.kernels = out.device.is_cuda() && gpu.kernels;
  using enum ComputeKind;
  compute = choose_compute(compute, out.device.is_cuda(), gpu);
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
  const std::string tail = remark.empty() ? "" : "; " + remark;
#ifdef WF_CUDA
  if (device.is_cuda()) {
    int driver = 0;
    cudaDriverGetVersion(&driver);
    return fmt::format("device: {} ({:.0f} GB), driver for CUDA {}.{}; {}{}", name,
                       double(memory_total()) / 1e9, driver / 1000, driver % 1000 / 10, format,
                       tail);
  }
#endif
  return fmt::format("device: CPU, {}, {} threads ({:.0f} GB); {}{}", name,
                     torch::get_num_threads(), double(memory_total()) / 1e9, format, tail);
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

int64_t Hardware::memory_within_reach() const {
  if (device.is_cuda()) return memory_total();  // memory_in_use counts other processes too
  return std::stoll(proc_value("/proc/meminfo", "MemAvailable")) * 1024 + memory_in_use();
}

}  // namespace wf

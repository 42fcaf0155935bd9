#include "train/hardware.h"

#include <gtest/gtest.h>

#include "tests/io/expect_error.h"

namespace wf {
namespace {

constexpr int kWheel = 13000;  // LibTorch 2.11.0+cu130

// Compute capabilities: NVIDIA's table. Drivers: CUDA 13 came with 580, CUDA 12.4 with 550.
TEST(GpuSupport, HopperRunsEverythingAndNeedsNoRemark) {
  for (const char* name : {"NVIDIA H100 80GB HBM3", "NVIDIA H200"}) {
    const GpuSupport support = gpu_support({name, 90, 13000}, kWheel);
    EXPECT_TRUE(support.usable && support.bf16 && support.kernels);
    EXPECT_EQ(support.remark, "");
  }
}

TEST(GpuSupport, AnotherGpuTrainsThroughLibTorchInBf16) {
  for (const auto& [name, capability] : {std::pair{"NVIDIA A100-SXM4-80GB", 80},
                                         {"NVIDIA GeForce RTX 4090", 89},
                                         {"NVIDIA B200", 100},
                                         {"NVIDIA GeForce RTX 5090", 120}}) {
    const GpuSupport support = gpu_support({name, capability, 13020}, kWheel);
    EXPECT_TRUE(support.usable && support.bf16);
    EXPECT_FALSE(support.kernels);
    EXPECT_EQ(support.remark, std::string(name) +
                                  " trains through LibTorch's operations in bf16; the kernels of "
                                  "this program need Hopper (H100, H200)");
  }
}

TEST(GpuSupport, AGpuWithoutBf16TrainsInFp32) {
  const GpuSupport support = gpu_support({"Tesla T4", 75, 13000}, kWheel);
  EXPECT_TRUE(support.usable);
  EXPECT_FALSE(support.bf16 || support.kernels);
  EXPECT_NE(support.remark.find("in fp32, having no bf16"), std::string::npos);
}

TEST(GpuSupport, Bf16ThatTheGpuLacksIsRefusedAndAutoAvoidsIt) {
  const GpuSupport t4 = gpu_support({"Tesla T4", 75, 13000}, kWheel),
                   a100 = gpu_support({"NVIDIA A100-SXM4-80GB", 80, 13000}, kWheel);
  EXPECT_EQ(choose_compute(ComputeKind::kAuto, true, t4), ComputeKind::kFp32);
  EXPECT_EQ(choose_compute(ComputeKind::kAuto, true, a100), ComputeKind::kBf16);
  EXPECT_EQ(choose_compute(ComputeKind::kAuto, false, a100), ComputeKind::kFp32);
  EXPECT_EQ(choose_compute(ComputeKind::kBf16, true, a100), ComputeKind::kBf16);
  EXPECT_EQ(choose_compute(ComputeKind::kBf16, false, t4), ComputeKind::kBf16);
  test::expect_error([&] { choose_compute(ComputeKind::kBf16, true, t4); },
                     {"compute=bf16: Tesla T4 trains", "set fp32"});
}

TEST(GpuSupport, AGpuThatTheWheelHasNoCodeForIsNotUsed) {
  const GpuSupport support = gpu_support({"Tesla V100-SXM2-16GB", 70, 13000}, kWheel);
  EXPECT_FALSE(support.usable);
  EXPECT_EQ(support.remark,
            "Tesla V100-SXM2-16GB has compute capability 7.0, and LibTorch for CUDA 13 starts at "
            "7.5");
}

TEST(GpuSupport, ADriverWithoutAGpuIsSaid) {
  EXPECT_EQ(gpu_support({.driver = 13000}, kWheel).remark,
            "the driver is there, but CUDA finds no usable GPU");
}

TEST(GpuSupport, ADriverOlderThanTheWheelIsNamedWithTheOneThatIsNeeded) {
  const GpuSupport support = gpu_support({"NVIDIA H100 80GB HBM3", 90, 12040}, kWheel);
  EXPECT_FALSE(support.usable);
  EXPECT_EQ(support.remark,
            "the driver runs CUDA up to 12.4 and this LibTorch needs 13.0: update the driver to "
            "580 or later");
}

TEST(GpuSupport, ADriverOfTheSameMajorVersionWillDo) {
  EXPECT_TRUE(gpu_support({"NVIDIA H200", 90, 13000}, 13020).usable);
}

TEST(Hardware, OneLineSaysWhatIsUsed) {
  const Hardware cpu = choose_hardware(DeviceKind::kCpu, ComputeKind::kAuto, 0);
  EXPECT_EQ(cpu.device, torch::kCPU);
  EXPECT_EQ(cpu.remark, "");
  EXPECT_EQ(cpu.describe().rfind("device: CPU, ", 0), 0);
  Hardware other = cpu;
  other.remark = "the driver is too old";
  EXPECT_EQ(other.describe(), cpu.describe() + "; the driver is too old");
}

}  // namespace
}  // namespace wf

// Tests of Torch code on our kernels: they need the card the kernels are built for.
#pragma once
#include <gtest/gtest.h>
#include <torch/torch.h>

#ifdef WF_CUDA
#include <cuda_runtime_api.h>
#endif

namespace wf::test {

// Why the test cannot run here; empty when it can.
inline std::string hopper_problem() {
#ifdef WF_CUDA
  if (!torch::cuda::is_available()) return "no usable GPU";
  int major = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  return major == 9 ? "" : "the kernels are built for sm_90a";
#else
  return "no usable GPU: built without CUDA";
#endif
}

}  // namespace wf::test

#define WF_REQUIRE_HOPPER() \
  if (const auto problem = wf::test::hopper_problem(); !problem.empty()) GTEST_SKIP() << problem

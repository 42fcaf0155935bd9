// From tensors to the plain pointers that the kernels take. Only for code under WF_CUDA.
#pragma once
#include <ATen/cuda/CUDAContextLight.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_bf16.h>
#include <torch/types.h>

#include "base/error.h"

namespace wf::ops {

// Whether the kernels, which are compiled for Hopper alone, run where t lies.
inline bool kernels_run_on(const torch::Tensor& t) {
  constexpr int kHopper = 9;
  return t.is_cuda() && at::cuda::getDeviceProperties(t.get_device())->major == kHopper;
}

inline cudaStream_t current_stream() { return c10::cuda::getCurrentCUDAStream(); }

inline __nv_bfloat16* bf16(const torch::Tensor& t) {
  return reinterpret_cast<__nv_bfloat16*>(t.data_ptr<at::BFloat16>());
}

// Shapes are checked where a model is accepted for the kernels, so a refusal here is a defect.
inline void launched(cudaError_t status, const char* kernel) {
  if (status != cudaSuccess)
    fail("kernel {} could not be launched: {}", kernel, cudaGetErrorString(status));
}

}  // namespace wf::ops

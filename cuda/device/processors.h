#pragma once

#include <cuda_runtime_api.h>

namespace wf::kernels {

// Multiprocessors of the current device; 0 when it cannot be asked.
inline int processor_count() {
  int device = 0, processors = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  if (cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
    return 0;
  }
  return processors;
}

}  // namespace wf::kernels

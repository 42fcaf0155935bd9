// Programmatic dependent launch: a kernel is made ready while the kernel before it in the stream
// still runs, and its blocks start as that one's last blocks end, which hides a microsecond or two
// each time. (Letting them take their places earlier, by griddepcontrol.launch_dependents, made a
// training step slower: 397 against 406 thousand tokens a second on SmolLM2-135M.)
#pragma once

#include <cuda_runtime_api.h>

namespace wf::kernels {

// Allows that for a kernel that is launched with cudaLaunchKernelEx.
inline cudaLaunchAttribute early_launch() {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  return attribute;
}

// kernel<<<blocks, threads, shared_bytes, stream>>>(arguments...), early; errors are for
// cudaGetLastError() as there. The kernel must call wait_for_predecessor() before it touches global
// memory.
template <class... Parameters, class... Arguments>
void launch_early(void (*kernel)(Parameters...), dim3 blocks, int threads, int shared_bytes,
                  cudaStream_t stream, Arguments... arguments) {
  cudaLaunchAttribute attribute = early_launch();
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  cudaLaunchKernelEx(&config, kernel, arguments...);
}

// Waits until all kernels before this one are done and what they wrote can be read.
__device__ __forceinline__ void wait_for_predecessor() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

}  // namespace wf::kernels

#include <c10/cuda/CUDAFunctions.h>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "parallel/backend.h"

namespace wf {

c10::intrusive_ptr<c10d::Backend> make_nccl(c10::intrusive_ptr<c10d::Store> store,
                                            const Environment& environment, torch::Device device,
                                            std::chrono::milliseconds timeout) {
  c10::cuda::set_device(device.index());  // else every rank would open a context on the first GPU
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, environment.rank, environment.size,
                                                     options);
}

}  // namespace wf

#include "parallel/context.h"

#include "parallel/c10d.h"
#include "parallel/single.h"

namespace wf {

std::unique_ptr<ParallelContext> make_parallel_context(const Environment& environment,
                                                       torch::Device device,
                                                       std::chrono::milliseconds timeout) {
  if (environment.size == 1) return std::make_unique<Single>(device);
  return make_c10d(environment, device, timeout);
}

}  // namespace wf

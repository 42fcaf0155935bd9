#pragma once
#include "parallel/context.h"

namespace wf {

// Several processes that meet at the environment's master address. Returns when all have joined;
// throws Error naming the rank, the address and what to do when they do not.
std::unique_ptr<ParallelContext> make_c10d(const Environment& environment, torch::Device device,
                                           std::chrono::milliseconds timeout);

}  // namespace wf

// The two libraries behind C10d, each in a file of its own: their headers are heavy.
#pragma once
#include <chrono>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "base/environment.h"

namespace wf {

c10::intrusive_ptr<c10d::Backend> make_gloo(c10::intrusive_ptr<c10d::Store> store,
                                            const Environment& environment,
                                            std::chrono::milliseconds timeout);
c10::intrusive_ptr<c10d::Backend> make_nccl(c10::intrusive_ptr<c10d::Store> store,
                                            const Environment& environment, torch::Device device,
                                            std::chrono::milliseconds timeout);

}  // namespace wf

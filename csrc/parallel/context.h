// The processes that train together.
#pragma once
#include <torch/types.h>

#include <memory>

#include "base/environment.h"

namespace wf {

// Every collective returns when its result may be used by later work on the current stream, and
// throws wf::Error when a peer is gone or the time-out passes.
class ParallelContext {
 public:
  virtual ~ParallelContext() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual torch::Device device() const = 0;               // where this rank computes
  virtual void all_reduce_sum(torch::Tensor tensor) = 0;  // in place
  virtual void reduce_scatter_sum(torch::Tensor shard,
                                  const torch::Tensor& full) = 0;  // full: size x shard
  virtual void all_gather(torch::Tensor full, const torch::Tensor& shard) = 0;
  virtual void broadcast(torch::Tensor tensor, int root) = 0;
  virtual void barrier() = 0;
};

// Single when the environment names one process, C10d (NCCL on GPUs, Gloo on CPUs) otherwise.
std::unique_ptr<ParallelContext> make_parallel_context(const Environment& environment,
                                                       torch::Device device);

}  // namespace wf

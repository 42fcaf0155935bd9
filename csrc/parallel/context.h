// The processes that train together.
#pragma once
#include <torch/types.h>

#include <chrono>
#include <memory>

#include "base/environment.h"

namespace wf {

// Every collective returns when its result may be used by later work on the current stream, and
// throws wf::Error when a peer is gone or the time-out passes. (With NCCL a collective is still
// running when it returns: there the error comes from a watchdog thread, which ends the process.)
// Every rank calls the same collectives in the same order, with contiguous tensors of one shape.
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
// `timeout` holds for joining and for every collective.
std::unique_ptr<ParallelContext> make_parallel_context(
    const Environment& environment, torch::Device device,
    std::chrono::milliseconds timeout = std::chrono::minutes(10));

}  // namespace wf

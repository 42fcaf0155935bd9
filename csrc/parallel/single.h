#pragma once
#include "parallel/context.h"

namespace wf {

// One process: sums and gathers are copies.
class Single : public ParallelContext {
 public:
  explicit Single(torch::Device device) : device_(device) {}
  int rank() const override { return 0; }
  int size() const override { return 1; }
  torch::Device device() const override { return device_; }
  void all_reduce_sum(torch::Tensor tensor) override;
  void reduce_scatter_sum(torch::Tensor shard, const torch::Tensor& full) override;
  void all_gather(torch::Tensor full, const torch::Tensor& shard) override;
  void broadcast(torch::Tensor tensor, int root) override;
  void barrier() override;

 private:
  torch::Device device_;
};

}  // namespace wf

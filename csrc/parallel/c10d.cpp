#include "parallel/c10d.h"

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "base/error.h"
#include "parallel/backend.h"

namespace wf {
namespace {

using std::chrono::milliseconds;

// c10d's messages carry stack traces after the first line.
std::string first_line(const std::exception& problem) {
  const std::string text = problem.what();
  return text.substr(0, text.find('\n'));
}

double seconds(milliseconds duration) { return std::chrono::duration<double>(duration).count(); }

class C10d : public ParallelContext {
 public:
  C10d(const Environment& environment, torch::Device device, milliseconds timeout)
      : environment_(environment), device_(device), timeout_(timeout) {
    join();
    // Gloo connects while it is made, NCCL at the first collective: meet once, so that a rank that
    // cannot be reached is known now.
    barrier();
  }
  // Ends the library's threads before the store that they may ask. Not a barrier: a rank that
  // leaves because of an error must not wait for the others.
  ~C10d() override { backend_->shutdown(); }

  int rank() const override { return environment_.rank; }
  int size() const override { return environment_.size; }
  torch::Device device() const override { return device_; }

  void all_reduce_sum(torch::Tensor tensor) override {
    check_layout("all_reduce_sum", tensor);
    std::vector<torch::Tensor> tensors = {tensor};
    run("all_reduce_sum", [&] { return backend_->allreduce(tensors); });
  }

  void reduce_scatter_sum(torch::Tensor shard, const torch::Tensor& full) override {
    check_layout("reduce_scatter_sum", shard, full);
    // Flat: the libraries differ in which shapes they take.
    torch::Tensor output = shard.view(-1), input = full.view(-1);
    run("reduce_scatter_sum", [&] { return backend_->_reduce_scatter_base(output, input); });
  }

  void all_gather(torch::Tensor full, const torch::Tensor& shard) override {
    check_layout("all_gather", shard, full);
    torch::Tensor output = full.view(-1), input = shard.view(-1);
    run("all_gather", [&] { return backend_->_allgather_base(output, input); });
  }

  void broadcast(torch::Tensor tensor, int root) override {
    check_layout("broadcast", tensor);
    std::vector<torch::Tensor> tensors = {tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    run("broadcast", [&] { return backend_->broadcast(tensors, options); });
  }

  void barrier() override {
    c10d::BarrierOptions options;
    if (device_.is_cuda()) options.device = device_;
    run("barrier", [&] { return backend_->barrier(options); });
  }

 private:
  void join() {
    try {
      c10d::TCPStoreOptions options;
      options.port = static_cast<std::uint16_t>(environment_.master_port);
      options.isServer = environment_.rank == 0 && !environment_.agent_hosts_store;
      options.numWorkers = static_cast<std::size_t>(environment_.size);
      options.waitWorkers = !environment_.agent_hosts_store;  // the agent counts its own clients
      options.timeout = timeout_;
      store_ = c10::make_intrusive<c10d::TCPStore>(environment_.master_address, options);
      store_->setTimeout(timeout_);
      backend_ = device_.is_cuda() ? make_nccl(store_, environment_, device_, timeout_)
                                   : make_gloo(store_, environment_, timeout_);
    } catch (const std::exception& problem) {
      fail(
          "rank {} of {}: could not meet the other ranks at {}:{} within {} s; see that all were "
          "started with this MASTER_ADDR and MASTER_PORT and that the port is free ({})",
          rank(), size(), environment_.master_address, environment_.master_port, seconds(timeout_),
          first_line(problem));
    }
  }

  // Runs a collective. Whatever goes wrong here comes from a peer or from the way to it, since the
  // arguments were checked before.
  template <class Start>
  void run(const char* what, Start&& start) {
    try {
      start()->wait();
    } catch (const std::exception& problem) {
      fail(
          "rank {} of {}: {} failed: another rank has ended, or gave no answer within {} s; its "
          "own last message says why ({})",
          rank(), size(), what, seconds(timeout_), first_line(problem));
    }
  }

  void check_layout(const char* what, const torch::Tensor& tensor) const {
    if (!tensor.is_contiguous() || tensor.device() != device_)
      fail("rank {}: {} needs contiguous tensors on {}", rank(), what, device_.str());
  }
  void check_layout(const char* what, const torch::Tensor& shard, const torch::Tensor& full) const {
    check_layout(what, shard);
    check_layout(what, full);
    if (full.numel() != shard.numel() * size() || full.dtype() != shard.dtype())
      fail("rank {}: {} needs {} shards of {} elements, one type; the full tensor has {} elements",
           rank(), what, size(), shard.numel(), full.numel());
  }

  Environment environment_;
  torch::Device device_;
  milliseconds timeout_;
  c10::intrusive_ptr<c10d::Store> store_;  // outlives the backend
  c10::intrusive_ptr<c10d::Backend> backend_;
};

}  // namespace

std::unique_ptr<ParallelContext> make_c10d(const Environment& environment, torch::Device device,
                                           std::chrono::milliseconds timeout) {
  return std::make_unique<C10d>(environment, device, timeout);
}

}  // namespace wf

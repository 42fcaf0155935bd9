#include "tests/parallel/worker.h"

#include <gtest/gtest.h>
#include <torch/torch.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <thread>

#include "base/error.h"
#include "parallel/buckets.h"
#include "parallel/context.h"

namespace wf::test {
namespace {

using torch::Tensor;

void expect_equal(const char* what, const Tensor& got, const Tensor& expected) {
  if (!torch::equal(got.cpu(), expected.cpu()))
    fail("{}: got {}, expected {}", what, torch::str(got), torch::str(expected));
}

// Rank r holds r+1 everywhere (small whole numbers: exact in every type), at position i plus i.
void collectives(ParallelContext& context) {
  const int rank = context.rank(), size = context.size();
  for (const auto dtype : {torch::kFloat32, torch::kFloat64, torch::kBFloat16, torch::kInt64}) {
    const auto options = torch::dtype(dtype).device(context.device());
    const Tensor sum_of_ranks = torch::full({}, size * (size + 1) / 2, options);

    Tensor tensor = torch::arange(5, options) + (rank + 1);
    context.all_reduce_sum(tensor);
    expect_equal("all_reduce_sum", tensor, torch::arange(5, options) * size + sum_of_ranks);

    const Tensor full = torch::arange(size * 3, options).reshape({size, 3}) + (rank + 1);
    Tensor shard = torch::zeros({3}, options);
    context.reduce_scatter_sum(shard, full);
    expect_equal("reduce_scatter_sum", shard,
                 (torch::arange(3, options) + rank * 3) * size + sum_of_ranks);

    Tensor gathered = torch::zeros({size, 2}, options);
    context.all_gather(gathered, torch::full({2}, rank + 1, options));
    expect_equal("all_gather", gathered,
                 (torch::arange(size, options) + 1).unsqueeze(1).expand({size, 2}));

    for (int root = 0; root < size; ++root) {
      Tensor told = torch::full({4}, rank * 10, options);
      context.broadcast(told, root);
      expect_equal("broadcast", told, torch::full({4}, root * 10, options));
    }
    context.barrier();
  }
}

// Random sums are the same on every rank and in every repetition, to the last bit.
void same_bits(ParallelContext& context) {
  torch::manual_seed(100 + context.rank());
  const Tensor mine = torch::randn({100'003}).to(context.device());
  Tensor first;
  for (int repetition = 0; repetition < 5; ++repetition) {
    Tensor sum = mine.clone();
    context.all_reduce_sum(sum);
    if (!first.defined()) first = sum;
    expect_equal("repetition", sum, first);
  }
  Tensor all = torch::empty({context.size(), first.numel()}, first.options());
  context.all_gather(all, first);
  for (int rank = 0; rank < context.size(); ++rank) expect_equal("rank", all[rank], first);
}

// Buckets of 64 bytes: some gradients share one, one is above the limit, one is not contiguous.
void buckets(ParallelContext& context) {
  const auto gradients_of = [&](int rank) {
    const auto device = context.device();
    std::vector<Tensor> gradients = {torch::arange(3.0).to(device),
                                     torch::ones({2, 2}, device),
                                     torch::arange(100.0).to(device),
                                     torch::arange(6.0).to(device).reshape({2, 3}).t(),
                                     torch::ones({7}, torch::kBFloat16).to(device),
                                     torch::full({}, 5.0, device),
                                     torch::zeros({0}, device)};
    for (auto& gradient : gradients) gradient *= rank + 1;
    return gradients;
  };
  const auto gradients = gradients_of(context.rank()), units = gradients_of(0);
  all_reduce_gradients(context, gradients, 64);
  const int sum_of_ranks = context.size() * (context.size() + 1) / 2;
  for (std::size_t i = 0; i < gradients.size(); ++i)
    expect_equal("bucketed gradient", gradients[i], units[i] * sum_of_ranks);
}

void last_rank_dies(ParallelContext& context) {
  if (context.rank() == context.size() - 1) _exit(3);
  context.all_reduce_sum(torch::ones({1'000'000}));
}

void last_rank_sleeps(ParallelContext& context) {
  if (context.rank() == context.size() - 1)
    std::this_thread::sleep_for(std::chrono::seconds(8));
  else
    context.all_gather(torch::ones({context.size()}), torch::ones({1}));
}

void nothing(ParallelContext&) {}

void misuse(ParallelContext& context) {
  const auto says = [](const std::string& text, const auto& action) {
    try {
      action();
    } catch (const Error& error) {
      if (std::string(error.what()).find(text) != std::string::npos) return;
      throw;
    }
    fail("nothing was thrown about '{}'", text);
  };
  says("contiguous", [&] { context.all_reduce_sum(torch::ones({2, 3}).t()); });
  says("shards of 2 elements", [&] { context.all_gather(torch::ones({3}), torch::ones({2})); });
  says("gradient is missing", [&] { all_reduce_gradients(context, {torch::Tensor()}); });
}

}  // namespace

int run_worker(const std::string& job) {
  static const std::map<std::string, void (*)(ParallelContext&)> kJobs = {
      {"collectives", collectives},
      {"same_bits", same_bits},
      {"buckets", buckets},
      {"last_rank_dies", last_rank_dies},
      {"last_rank_sleeps", last_rank_sleeps},
      {"nothing", nothing},
      {"misuse", misuse}};
  try {
    torch::set_num_threads(1);
    const auto environment = Environment::read();
    const bool on_gpu = std::getenv("WF_TEST_ON_GPU") != nullptr;
    const auto context = make_parallel_context(
        environment, on_gpu ? torch::Device(torch::kCUDA, environment.local_rank) : torch::kCPU,
        std::chrono::seconds(job == "last_rank_sleeps" || job == "nothing" ? 3 : 60));
    kJobs.at(job)(*context);
    // One write a line, so that the ranks' lines do not mix.
    std::cout << fmt::format("rank {}: done\n", environment.rank) << std::flush;
    return 0;
  } catch (const Error& error) {
    std::cout << fmt::format("{}\n", error.what()) << std::flush;
    return 1;
  }
}

}  // namespace wf::test

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--worker") return wf::test::run_worker(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

#include "parallel/single.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "parallel/buckets.h"

namespace wf {
namespace {

TEST(Single, IsTheWholeWorld) {
  const auto context = make_parallel_context(Environment{}, torch::kCPU);
  EXPECT_EQ(context->rank(), 0);
  EXPECT_EQ(context->size(), 1);
  EXPECT_EQ(context->device(), torch::Device(torch::kCPU));
}

TEST(Single, SumsAndGathersItself) {
  Single context(torch::kCPU);
  const auto values = torch::arange(6.0);
  auto tensor = values.clone(), shard = torch::zeros(6), full = torch::zeros({1, 6});
  context.all_reduce_sum(tensor);
  EXPECT_TRUE(torch::equal(tensor, values));
  context.broadcast(tensor, 0);
  EXPECT_TRUE(torch::equal(tensor, values));
  context.reduce_scatter_sum(shard, values.reshape({1, 6}));
  EXPECT_TRUE(torch::equal(shard, values));
  context.all_gather(full, values);
  EXPECT_TRUE(torch::equal(full[0], values));
  all_reduce_gradients(context, {tensor});
  EXPECT_TRUE(torch::equal(tensor, values));
}

}  // namespace
}  // namespace wf

#include "parallel/buckets.h"

#include "base/error.h"

namespace wf {
namespace {

void reduce(ParallelContext& context, const std::vector<torch::Tensor>& bucket) {
  if (bucket.size() == 1 && bucket[0].is_contiguous()) {
    context.all_reduce_sum(bucket[0]);
    return;
  }
  std::vector<torch::Tensor> rows;
  for (const auto& gradient : bucket) rows.push_back(gradient.reshape(-1));
  const torch::Tensor flat = torch::cat(rows);
  context.all_reduce_sum(flat);
  int64_t offset = 0;
  for (torch::Tensor gradient : bucket) {
    gradient.copy_(flat.narrow(0, offset, gradient.numel()).view(gradient.sizes()));
    offset += gradient.numel();
  }
}

}  // namespace

void all_reduce_gradients(ParallelContext& context, const std::vector<torch::Tensor>& gradients,
                          int64_t bucket_bytes) {
  if (context.size() == 1) return;
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> bucket;
  int64_t bytes = 0;
  for (const auto& gradient : gradients) {
    if (!gradient.defined())
      fail("rank {}: a gradient is missing, which the other ranks would wait for", context.rank());
    const auto size = static_cast<int64_t>(gradient.nbytes());
    if (!bucket.empty() && (gradient.dtype() != bucket[0].dtype() || bytes + size > bucket_bytes)) {
      reduce(context, bucket);
      bucket.clear();
      bytes = 0;
    }
    bucket.push_back(gradient);
    bytes += size;
  }
  if (!bucket.empty()) reduce(context, bucket);
}

}  // namespace wf

// Gradients over all ranks, in a few large collectives.
#pragma once
#include <torch/types.h>

#include <vector>

#include "parallel/context.h"

namespace wf {

inline constexpr int64_t kBucketBytes = 32 << 20;

// Sums every gradient over the ranks, in place. Neighbours of one dtype travel together in flat
// buckets of at most `bucket_bytes`; a larger gradient travels alone. What shares a bucket depends
// on the list alone, so sums come out the same in every run.
void all_reduce_gradients(ParallelContext& context, const std::vector<torch::Tensor>& gradients,
                          int64_t bucket_bytes = kBucketBytes);

}  // namespace wf

// See attention_backward.h for the formulas. Two passes, over tiles of queries (dQ) and of keys
// (dK, dV). One block per SM takes tile after tile off a common list, those with most work first,
// until it is empty (which block computes a tile changes nothing of it): a producer thread keeps a
// ring of shared-memory stages filled by the copy engine, two consumer warpgroups sum for 64 rows
// each.
#include <algorithm>

#include "device/attention_keys.cuh"
#include "device/attention_queries.cuh"
#include "device/early_launch.cuh"
#include "device/last_starting_at.cuh"
#include "device/processors.h"
#include "device/tensor_map.h"
#include "kernels/attention_backward.h"

namespace wf::kernels {
namespace {

using namespace attention;

__device__ __forceinline__ int2 document_of(const Problem& p, int token) {
  if (token >= p.p.tokens) return {p.padded, 0};
  const int* starts = p.p.starts;
  const int document = last_starting_at(p.p.documents, token, [&](int i) { return starts[i]; });
  return {starts[document], starts[document + 1]};
}

constexpr int kPrepareThreads = 256;

// What both passes need of a token, one thread for each and head.
__global__ void __launch_bounds__(kPrepareThreads)
    attention_prepare_kernel(const __grid_constant__ Problem p) {
  wait_for_predecessor();
  const int token = blockIdx.x * kPrepareThreads + threadIdx.x, head = blockIdx.y;
  if (head == 0 && token < 2) p.taken[token] = 0;
  if (token >= p.padded) return;
  if (head == 0) p.document[token] = document_of(p, token);
  const int rows = p.p.lse_rows;
  const int64_t at = (static_cast<int64_t>(token / rows) * p.p.heads + head) * rows + token % rows;
  p.log2_sum[static_cast<int64_t>(head) * p.padded + token] =
      token < p.p.tokens ? p.p.lse[at] * kLog2e : 0;
}

int padded_tokens(int tokens) { return (tokens + kRows - 1) / kRows * kRows; }

bool valid(const AttentionBackward& p) {
  if (p.tokens < 1 || p.tokens > (1 << 28) || p.heads < 1 || p.kv_heads < 1) return false;
  if (p.heads % p.kv_heads != 0 || p.lse_rows < 1 || p.row_length < 1 || p.documents < 1)
    return false;
  for (const AttentionHeads& x : {p.q, p.k, p.v, p.out, p.dout}) {
    if (x.pitch % 8 != 0 || reinterpret_cast<uintptr_t>(x.data) % 16 != 0) return false;
  }
  return true;
}

}  // namespace

size_t attention_backward_workspace_bytes(int tokens, int heads) {
  return (2 * sizeof(float) * heads + sizeof(int2)) * padded_tokens(tokens) + 2 * sizeof(int);
}

cudaError_t attention_backward(const AttentionBackward& p, void* workspace, cudaStream_t stream) {
  if (!valid(p)) return cudaErrorInvalidValue;
  Problem problem = {p};
  problem.padded = padded_tokens(p.tokens);
  problem.log2_sum = static_cast<float*>(workspace);
  problem.delta = problem.log2_sum + static_cast<size_t>(p.heads) * problem.padded;
  problem.document =
      reinterpret_cast<int2*>(problem.delta + static_cast<size_t>(p.heads) * problem.padded);
  problem.taken = reinterpret_cast<int*>(problem.document + problem.padded);
  const bool even = p.row_length % kRows == 0 && p.tokens % p.row_length == 0;
  problem.sequence = even ? p.row_length / kRows : problem.tiles();
  constexpr int64_t kHeldBytes = 24 << 20;
  const int64_t row_bytes = 2ll * p.heads * kRowBytes * problem.sequence * kRows;
  problem.together = static_cast<int>(std::max<int64_t>(1, kHeldBytes / row_bytes));
  Maps maps;
  const auto describe = [&](CUtensorMap* map, const AttentionHeads& x, int heads) {
    return make_tensor_map(map, x.data, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, p.tokens, heads * kDim,
                           x.pitch, kStep);
  };
  for (const cudaError_t status :
       {describe(&maps.q, p.q, p.heads), describe(&maps.k, p.k, p.kv_heads),
        describe(&maps.v, p.v, p.kv_heads), describe(&maps.out, p.out, p.heads),
        describe(&maps.dout, p.dout, p.heads)}) {
    if (status != cudaSuccess) return status;
  }
  const int processors = processor_count();
  if (processors == 0) return cudaErrorNoDevice;
  constexpr int kBytes = sizeof(Shared);
  for (const auto kernel : {attention_queries_kernel, attention_keys_kernel}) {
    const cudaError_t status =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
    if (status != cudaSuccess) return status;
  }
  const dim3 blocks((problem.padded + kPrepareThreads - 1) / kPrepareThreads, p.heads);
  launch_early(attention_prepare_kernel, blocks, kPrepareThreads, 0, stream, problem);
  launch_early(attention_queries_kernel, processors, kPipelineThreads, kBytes, stream, problem,
               maps);
  launch_early(attention_keys_kernel, processors, kPipelineThreads, kBytes, stream, problem, maps);
  return cudaGetLastError();
}

}  // namespace wf::kernels

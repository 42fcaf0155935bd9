// Cross-entropy of a chunk of logits and, in place, its gradient: the logits are never kept.
//
//   loss[r]      = logsumexp(z_r) - z_r[label]                       fp32
//   dlogits[r,j] = bf16((exp(z_rj - logsumexp(z_r)) - [j == label]) * *scale)
//
// over the first `vocab` of `pitch` columns; the padding's gradient is 0. A row whose label is
// kIgnoredLabel has loss 0 and gradient 0. exp by the hardware's exp2 (relative error under 2^-20
// for |z - logsumexp| < 16); sums in a fixed order.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>
#include <stdint.h>

namespace wf::kernels {

constexpr int64_t kIgnoredLabel = -100;

// logits [rows, pitch]; labels, loss [rows]. scale: one value in device memory, such as one over
// the number of valid tokens. vocab and pitch: multiples of 8, vocab <= pitch. Labels other than
// kIgnoredLabel lie in [0, vocab).
cudaError_t cross_entropy(__nv_bfloat16* logits, const int64_t* labels, const float* scale,
                          float* loss, int rows, int vocab, int pitch, cudaStream_t stream);

}  // namespace wf::kernels

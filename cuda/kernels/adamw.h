// AdamW (Loshchilov & Hutter, arXiv:1711.05101) over many tensors in one launch, as
// torch.optim.AdamW:
//
//   g = grad * gradient_scale
//   m = beta1 * m + (1 - beta1) * g,  v = beta2 * v + (1 - beta2) * g^2
//   w = w * (1 - lr * weight_decay) - (lr / bias1) * m / (sqrt(v) / root_bias2 + epsilon)
//
// fp32 throughout, IEEE roots and quotients. Also leaves sum |w| of the new weights, per chunk of
// kSumChunk elements, in the form that ternarize() takes.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/ternarize.h"

namespace wf::kernels {

struct AdamWTensor {
  float* weight;
  float* m;
  float* v;
  const float* gradient;
  double* absolute_sums;  // one per chunk, or null
  int count;              // a multiple of 4
  float lr_factor;        // multiplies the step's lr
  float weight_decay;
  int first_chunk;  // filled by plan_adamw
};

// What changes with the step. Lives in device memory, so that a captured graph can be replayed.
struct AdamWStep {
  float lr;
  float bias1;           // 1 - beta1^t
  float root_bias2;      // sqrt(1 - beta2^t)
  float gradient_scale;  // clip coefficient over loss scale; not finite: the step changes nothing
};

// Fills first_chunk on the host; returns the number of chunks, or 0 when a count is bad. The list
// must then be copied to the device.
int plan_adamw(AdamWTensor* tensors, int count);

// tensors: device copy of the planned list.
cudaError_t adamw(const AdamWTensor* tensors, int count, int chunks, const AdamWStep* step,
                  float beta1, float beta2, float epsilon, cudaStream_t stream);

}  // namespace wf::kernels

// Gate activations of the feed-forward, their values and derivatives.
#pragma once

#include "device/row_reduce.cuh"

namespace wf::kernels {

// Hardware exp2 and reciprocal, relative error under 2^-20 for |x| < 16. Their flushing of
// denormals does not show: exp2 is added to 1, and the reciprocal is denormal only where x < -87.
__device__ __forceinline__ float sigmoid(float x) {
  float power, inverse;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * -1.44269504f));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0f + power));
  return inverse;
}

// inner(): what value and derivative share, worth keeping between them.
struct Silu {
  __device__ static float inner(float gate) { return sigmoid(gate); }
  __device__ static float value(float gate, float inner) { return __fmul_rn(gate, inner); }
  __device__ static float derivative(float gate, float inner) {
    return inner * (1.0f + gate * (1.0f - inner));
  }
};

struct Relu2 {
  __device__ static float inner(float gate) { return max_or_nan(gate, 0.0f); }
  __device__ static float value(float, float inner) { return __fmul_rn(inner, inner); }
  __device__ static float derivative(float, float inner) { return 2.0f * inner; }
};

}  // namespace wf::kernels

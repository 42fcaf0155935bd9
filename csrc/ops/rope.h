// Rotary position embedding, half-split pairs as in Hugging Face (x_i with x_{i+hd/2}). Su et al.,
// arXiv:2104.09864.
#pragma once
#include <torch/types.h>

#include <optional>
#include <vector>

#include "shape/rope_scaling.h"

namespace wf::ops {

// Rotations by every position: cos and sin, fp32 (or fp64) [positions, head_dim/2].
struct RopeTable {
  torch::Tensor cos, sin;
};
RopeTable make_rope_table(int64_t positions, int64_t head_dim, double theta,
                          const std::optional<RopeScaling>& scaling, torch::TensorOptions options);

// cos and sin for a batch's positions [B, T] -> [B, T, 1, head_dim/2].
RopeTable rope_at(const RopeTable& table, const torch::Tensor& positions);

// x [B, T, heads, head_dim], rotated in fp32, in x's dtype. Backward rotates the other way; nothing
// of x is saved.
torch::Tensor rope(const torch::Tensor& x, const RopeTable& at_positions);

}  // namespace wf::ops

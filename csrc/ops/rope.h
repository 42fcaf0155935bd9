// Rotary position embedding, half-split pairs as in Hugging Face (x_i with x_{i+hd/2}). Su et al.,
// arXiv:2104.09864.
#pragma once
#include <torch/types.h>

#include <optional>
#include <vector>

namespace wf::ops {

// Llama 3.1's rescaling of low frequencies; linear divides every frequency by `factor`.
struct RopeScaling {
  enum class Kind { kLinear, kLlama3 };
  Kind kind = Kind::kLinear;
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  // kLlama3
  double original_context = 8192;                    // kLlama3
};

// The frequency of a pair after scaling, from the one before: θ^(−2i/head_dim).
double scaled_frequency(double frequency, const RopeScaling& scaling);

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

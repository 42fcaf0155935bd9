// A block's forward and backward by the kernels: the same parameters and formulas as Block, other
// roads between them.
#pragma once
#include <optional>

#include "nn/block.h"
#include "ops/fused_linear.h"

namespace wf {

// Which products of the ternary linears run on int8 tensor cores.
struct Int8 {
  bool forward = false;  // false: no kernels at all, the reference path
  bool input_gradient = false;
  bool weight_gradient = false;  // only with input_gradient, whose codes it takes
  std::vector<int64_t> bf16_weight_gradient_layers;  // blocks whose weight gradients stay bf16
};

// Why a model of this shape cannot take the kernels; empty when it can.
std::string kernels_problem(const DecoderConfig& config);

// A block's four groups of ternary matrices, in the order of their use: q k v; o; gate up; down.
void append_ternary_groups(const Block& block, std::vector<std::vector<torch::Tensor>>& groups);

class FusedBlock {
 public:
  static constexpr int64_t kTokenMultiple = 16;  // B·T of a batch

  // Borrows block and store; `index` is the block's number, its groups begin at 4·index.
  FusedBlock(const Block& block, const DecoderConfig& config, const ops::TernaryStore& store,
             int64_t index, const Int8& int8);

  // in and result [B, T, D] bf16. table fp32 [positions, head_dim/2]; positions [B, T] int64.
  ops::Residual forward(const ops::Residual& in, const ops::RopeTable& table,
                        const torch::Tensor& positions, const ops::DocumentRanges& documents,
                        const ops::FusedPass& pass) const;

 private:
  const Block* block_;
  const DecoderConfig* config_;
  ops::FusedLinearPtr qkv_, o_, gate_up_, down_;
};

}  // namespace wf

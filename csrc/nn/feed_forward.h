// The feed-forward half of a block, without its residual.
#pragma once
#include "nn/bit_linear.h"
#include "nn/norm.h"
#include "ops/gated.h"
#include "shape/decoder_config.h"

namespace wf {

class FeedForward : public torch::nn::Module {
 public:
  FeedForward(const DecoderConfig& config, Precision precision);

  // x [B, T, D] the normalised residual stream in the master dtype -> [B, T, D] compute dtype.
  // `tap`, when not null, receives down_input.
  torch::Tensor forward(const torch::Tensor& x, const Pass& pass, BlockTap* tap);

  std::shared_ptr<BitLinear> gate_proj, up_proj, down_proj;
  std::shared_ptr<RmsNorm> ffn_sub_norm;  // null without sub_norm

 private:
  Activation activation_;
  Precision precision_;
};

}  // namespace wf

// A decoder-only language model, parameter names as Hugging Face spells them.
#pragma once
#include "data/batch.h"
#include "nn/block.h"
#include "nn/fused_block.h"
#include "nn/parameter.h"

namespace wf {

class Decoder : public torch::nn::Module {
 public:
  // Weights uninitialised, gains one, on the CPU: load them, or call initialize.
  Decoder(const DecoderConfig& config, Precision precision);

  // Normal weights of std initializer_range, zero biases, unit gains; a function of the seed alone.
  void initialize(uint64_t seed);

  // With int8.forward, passes run on the kernels (at λ = 1 the int8 ones): the model must be on a
  // GPU that has them, and of a shape for which kernels_problem is empty.
  void set_int8(const Int8& int8);

  Trace forward(const Batch& batch, const Pass& pass);

  // Every trained tensor in a fixed order; a tied head is listed once, as the embedding.
  std::vector<Parameter> trained_parameters() const;

  // The ternary matrices by name, in layer order: q, k, v, o, gate, up, down.
  std::vector<std::pair<std::string, std::shared_ptr<BitLinear>>> bit_linears() const;

  const DecoderConfig& config() const { return config_; }
  const Precision& precision() const { return precision_; }
  torch::Device device() const { return embedding_.device(); }
  const std::vector<std::shared_ptr<Block>>& blocks() const { return blocks_; }

 private:
  const ops::RopeTable& rotations(int64_t positions);
  bool kernels_serve(const Batch& batch, const Pass& pass) const;
  const std::vector<FusedBlock>& fused_blocks(double weight_quant);

  DecoderConfig config_;
  Precision precision_;
  torch::Tensor embedding_, head_;  // [V, D]; one tensor when tied
  std::vector<std::shared_ptr<Block>> blocks_;
  std::shared_ptr<RmsNorm> norm_;
  ops::RopeTable rotations_;  // grown to the longest sequence seen
  Int8 int8_;
  std::unique_ptr<ops::TernaryStore> store_;
  std::vector<FusedBlock> fused_blocks_;  // borrow blocks_ and store_
};

}  // namespace wf

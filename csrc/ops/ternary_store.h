// A model's matrices in the form that the fused functions read: their ternary codes, all of them
// made in a few launches once per optimizer step, or at λ < 1 their blends.
#pragma once
#include <torch/types.h>

#include <memory>
#include <vector>

namespace wf::ops {

// Matrices that read the same rows (q, k, v; gate, up; or one alone), one below the other.
struct TernaryGroup {
  std::vector<torch::Tensor> weights;  // masters [out_i, in] fp32
  std::vector<int64_t> ends;           // rows of `codes` where each matrix ends
  torch::Tensor codes;                 // int8 [Σ out_i, in]
  torch::Tensor codes_transposed;      // int8 [in, Σ out_i]
  torch::Tensor deltas;                // fp32 [matrices], each Δ_i
  torch::Tensor blend;                 // bf16 [Σ out_i, in] W + λ(Δ·T − W); undefined at λ = 1
};

class TernaryStore {
 public:
  // Groups of fp32 matrices on one GPU, sides multiples of 16; at most 4 in a group.
  explicit TernaryStore(const std::vector<std::vector<torch::Tensor>>& groups);
  ~TernaryStore();

  // Makes the codes (λ = `quant` = 1) or the blends again if a master has changed since they were
  // made (by its version counter), or λ has.
  void refresh(double quant);

  const std::vector<TernaryGroup>& groups() const { return groups_; }

 private:
  struct Plan;
  std::vector<TernaryGroup> groups_;
  std::unique_ptr<Plan> plan_;
  void make_codes();

  // Sum of the masters' versions, which only grows, when codes and blends were made; −1: never.
  int64_t codes_version_ = -1, blend_version_ = -1;
  double blend_quant_ = 0;
};

}  // namespace wf::ops

// What one micro-step of one rank trains on. B rows of T tokens; documents never cross a row.
#pragma once
#include <torch/types.h>

#include <cstdint>

namespace wf {

struct Batch {
  static constexpr int64_t kIgnore = -100;  // a label where no loss is taken

  torch::Tensor tokens;     // [B, T] int64
  torch::Tensor labels;     // [B, T] int64: the next token of the same document, or kIgnore
  torch::Tensor positions;  // [B, T] int64: 0 at each document's (or row's) first token
  // Where documents start in the flattened B*T tokens, ascending from 0, with B*T at the end:
  // attention stays inside these ranges. int32 [D+1]; `starts` is always on the CPU,
  // `device_starts` beside tokens.
  torch::Tensor starts, device_starts;
  int64_t longest = 0;       // tokens of the longest document
  int64_t valid_labels = 0;  // labels that are not kIgnore, known without asking the device

  // One document per row: attention is plain causal.
  bool plain() const { return longest == tokens.size(1) && starts.numel() == tokens.size(0) + 1; }
  Batch to(torch::Device device) const;
};

}  // namespace wf

// A trained tensor, its Hugging Face name, and what it is for: optimizer groups go by role, never
// by name.
#pragma once
#include <torch/types.h>

#include <string>
#include <vector>

namespace wf {

enum class Role {
  kEmbedding,
  kHead,
  kNorm,
  kBias,
  kLinear
};  // kLinear: the 2-D matrices of the blocks

struct Parameter {
  std::string name;     // "model.layers.0.self_attn.q_proj.weight"
  torch::Tensor value;  // fp32 leaf that requires a gradient; shared with the module that owns it
  Role role;
};

}  // namespace wf

#pragma once
#include <torch/types.h>

#include <string>

namespace wf {

struct NamedTensor {
  std::string name;  // Hugging Face spelling for weights
  torch::Tensor value;
};

}  // namespace wf

// Codes packed four a byte (ternary/packed_codes.h) as tensors.
#pragma once
#include <torch/types.h>

namespace wf {

torch::Tensor pack_codes(const torch::Tensor& codes);     // [M, K] −1/0/+1 -> uint8 [M/4, K]
torch::Tensor unpack_codes(const torch::Tensor& packed);  // uint8 [M/4, K] -> fp32 [M, K]

}  // namespace wf

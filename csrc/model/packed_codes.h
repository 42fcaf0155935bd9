// Four ternary codes a byte, as transformers' bitnet integration stores them: byte row j, column k
// holds in bits 2i..2i+1 the code t+1 of row i·(M/4)+j, column k.
#pragma once
#include <torch/types.h>

namespace wf {

torch::Tensor pack_codes(
    const torch::Tensor& codes);  // [M, K] −1/0/+1 -> uint8 [M/4, K]; M % 4 == 0
torch::Tensor unpack_codes(const torch::Tensor& packed);  // uint8 [M/4, K] -> fp32 [M, K]

}  // namespace wf

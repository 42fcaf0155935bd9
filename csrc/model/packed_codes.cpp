#include "model/packed_codes.h"

#include <torch/torch.h>

#include "ternary/packed_codes.h"

namespace wf {

using torch::Tensor;

Tensor pack_codes(const Tensor& codes) {
  const Tensor small = codes.to(torch::kCPU, torch::kChar).contiguous();
  const auto packed = pack_codes({small.const_data_ptr<int8_t>(), std::size_t(small.numel())},
                                 small.size(0), small.size(1));
  return torch::tensor(packed, torch::kUInt8).view({-1, small.size(1)});
}

Tensor unpack_codes(const Tensor& packed) {
  const Tensor bytes = packed.contiguous();
  Tensor codes = torch::empty({4 * bytes.size(0), bytes.size(1)}, torch::kFloat);
  std::vector<int8_t> row(std::size_t(codes.size(1)));  // the whole matrix would take memory twice
  for (int64_t i = 0; i < codes.size(0); ++i) {
    unpack_codes({bytes.const_data_ptr<uint8_t>(), std::size_t(bytes.numel())}, codes.size(0),
                 codes.size(1), i, 1, row.data());
    std::ranges::copy(row, codes.mutable_data_ptr<float>() + i * codes.size(1));
  }
  return codes;
}

}  // namespace wf

#include "model/packed_codes.h"

#include <torch/torch.h>

#include "base/error.h"

namespace wf {

using torch::Tensor;

Tensor pack_codes(const Tensor& codes) {
  if (codes.size(0) % 4)
    fail("a matrix of {} rows cannot be packed four codes a byte: the rows must be a multiple of 4",
         codes.size(0));
  const auto quarters = (codes + 1).to(torch::kUInt8).chunk(4, 0);
  Tensor packed = quarters[0].clone();
  for (int64_t i = 1; i < 4; ++i) packed.bitwise_or_(quarters[i].bitwise_left_shift(2 * i));
  return packed;
}

Tensor unpack_codes(const Tensor& packed) {
  const int64_t rows = packed.size(0);
  Tensor codes = torch::empty({4 * rows, packed.size(1)}, torch::kFloat);
  for (int64_t i = 0; i < 4; ++i)
    codes.slice(0, i * rows, (i + 1) * rows)
        .copy_(packed.bitwise_right_shift(2 * i).bitwise_and_(3))
        .sub_(1);
  return codes;
}

}  // namespace wf

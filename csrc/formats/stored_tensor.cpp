#include "formats/stored_tensor.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/float16.h"

namespace wf {

void read_floats(const StoredTensor& tensor, int64_t first, int64_t count, float* out) {
  const auto part = [&]<class T>(std::span<const T> all) {
    return all.subspan(std::size_t(first), std::size_t(count));
  };
  switch (tensor.dtype) {
    case Dtype::kF32:
      std::ranges::copy(part(tensor.as<float>()), out);
      return;
    case Dtype::kF16:
      return half_to_float(part(tensor.as<uint16_t>()), out);
    case Dtype::kBF16:
      return bfloat16_to_float(part(tensor.as<uint16_t>()), out);
    case Dtype::kF64:
      std::ranges::transform(part(tensor.as<double>()), out,
                             [](double value) { return float(value); });
      return;
    default:
      fail("internal error: {} holds no floating-point numbers", dtype_name(tensor.dtype));
  }
}

uint64_t WritableTensor::bytes() const {
  uint64_t bytes = uint64_t(dtype_info(dtype).bytes);
  for (const int64_t extent : shape) bytes *= uint64_t(extent);
  return bytes;
}

WritableTensor writable(std::string name, StoredTensor value) {
  return {std::move(name), value.dtype, value.shape, [value] { return value; }};
}

}  // namespace wf

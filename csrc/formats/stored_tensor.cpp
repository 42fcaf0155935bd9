#include "formats/stored_tensor.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/float16.h"
#include "base/simd.h"

namespace wf {
namespace {

// Infinity and NaN have every bit of the exponent set.
template <class T>
WF_LOOP bool any_with_exponent(const T* bits, std::size_t count, T exponent) {
  T found = 0;
  for (std::size_t i = 0; i < count; ++i) found |= T((bits[i] & exponent) == exponent);
  return found != 0;
}

template <class T>
bool has_exponent(const StoredTensor& tensor, T exponent) {
  const auto bits = tensor.as<T>();
  return vectorised<any_with_exponent<T>>(bits.data(), bits.size(), exponent);
}

}  // namespace

bool all_finite(const StoredTensor& tensor) {
  switch (tensor.dtype) {
    case Dtype::kF64:
      return !has_exponent(tensor, uint64_t{0x7FF0000000000000});
    case Dtype::kF32:
      return !has_exponent(tensor, uint32_t{0x7F800000});
    case Dtype::kF16:
      return !has_exponent(tensor, uint16_t{0x7C00});
    case Dtype::kBF16:
      return !has_exponent(tensor, uint16_t{0x7F80});
    default:
      return true;
  }
}

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

// A tensor as it lies in a file: bytes, shape and type, without a library of tensors.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/dtype.h"

namespace wf {

struct StoredTensor {
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;   // row-major, aligned for its type, not to be written to
  std::shared_ptr<const void> owner;  // of the bytes: a mapped file, or memory

  int64_t numel() const { return int64_t(bytes.size()) / dtype_info(dtype).bytes; }
  // The elements as T, which must be what dtype says.
  template <class T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
  // Elements first .. first + count − 1 in row-major order, as a vector.
  StoredTensor part(int64_t first, int64_t count) const {
    const auto size = std::size_t(dtype_info(dtype).bytes);
    return {
        dtype, {count}, bytes.subspan(std::size_t(first) * size, std::size_t(count) * size), owner};
  }
};

// Elements first .. first + count − 1 of any floating-point type as fp32; F64 is rounded, the
// others are exact.
void read_floats(const StoredTensor& tensor, int64_t first, int64_t count, float* out);
inline void read_floats(const StoredTensor& tensor, float* out) {
  read_floats(tensor, 0, tensor.numel(), out);
}
// Whether no element of any floating-point type is infinite or NaN.
bool all_finite(const StoredTensor& tensor);

// Takes over `values`.
template <class T>
StoredTensor in_memory(Dtype dtype, std::vector<int64_t> shape, std::vector<T> values) {
  const auto kept = std::make_shared<const std::vector<T>>(std::move(values));
  return {dtype, std::move(shape), std::as_bytes(std::span(*kept)), kept};
}

// A tensor that is to be written: its value is asked for once, when its bytes are due.
struct WritableTensor {
  std::string name;
  Dtype dtype;
  std::vector<int64_t> shape;
  std::function<StoredTensor()> value;

  uint64_t bytes() const;  // of the value
};
WritableTensor writable(std::string name, StoredTensor value);

}  // namespace wf

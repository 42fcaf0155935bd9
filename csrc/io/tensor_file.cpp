#include "io/tensor_file.h"

#include <torch/torch.h>

#include <algorithm>

#include "base/error.h"

namespace wf {
namespace {

// In the order of Dtype.
constexpr std::array kTorchTypes = {
    torch::kInt64,   torch::kFloat64, torch::kFloat32, torch::kInt32, torch::kBFloat16,
    torch::kFloat16, torch::kInt16,   torch::kInt8,    torch::kUInt8, torch::kBool};
static_assert(kTorchTypes.size() == kDtypes.size());

Dtype dtype_of(const NamedTensor& tensor) {
  if (!tensor.value.defined()) fail("tensor '{}' is undefined and cannot be saved", tensor.name);
  const auto found = std::ranges::find(kTorchTypes, tensor.value.scalar_type());
  if (found == kTorchTypes.end())
    fail("tensor '{}' has dtype {}, which is not one that is saved here", tensor.name,
         torch::toString(tensor.value.scalar_type()));
  return static_cast<Dtype>(found - kTorchTypes.begin());
}

}  // namespace

torch::Tensor as_torch(const StoredTensor& stored) {
  return at::from_blob(
      const_cast<std::byte*>(stored.bytes.data()), stored.shape, [keep = stored.owner](void*) {},
      kTorchTypes[std::size_t(stored.dtype)]);
}

std::vector<WritableTensor> writable(const std::vector<NamedTensor>& tensors) {
  std::vector<WritableTensor> out;
  for (const auto& tensor : tensors) {
    const Dtype dtype = dtype_of(tensor);
    out.push_back(
        {tensor.name, dtype, tensor.value.sizes().vec(), [dtype, value = tensor.value] {
           const auto plain = std::make_shared<torch::Tensor>(value.detach().cpu().contiguous());
           return StoredTensor{dtype,
                               plain->sizes().vec(),
                               {static_cast<const std::byte*>(plain->data_ptr()), plain->nbytes()},
                               plain};
         }});
  }
  return out;
}

}  // namespace wf

#include "io/safetensors_write.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/error.h"
#include "io/safetensors_dtype.h"

namespace wf {
namespace {

std::size_t dtype_row(const NamedTensor& tensor) {
  if (!tensor.value.defined()) fail("tensor '{}' is undefined and cannot be saved", tensor.name);
  const auto found =
      std::find_if(kSafetensorsDtypes.begin(), kSafetensorsDtypes.end(),
                   [&](const auto& known) { return known.dtype == tensor.value.scalar_type(); });
  if (found == kSafetensorsDtypes.end())
    fail("tensor '{}' has dtype {}, which is not one that is saved here", tensor.name,
         torch::toString(tensor.value.scalar_type()));
  return static_cast<std::size_t>(found - kSafetensorsDtypes.begin());
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<std::pair<std::size_t, const NamedTensor*>> order;  // dtype row, tensor
  for (const auto& tensor : tensors) order.emplace_back(dtype_row(tensor), &tensor);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first, a.second->name) < std::tie(b.first, b.second->name);
  });

  // Ordered: the reference keeps the metadata first and the tensors in the order of their bytes.
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::size_t offset = 0;
  for (const auto& [row, tensor] : order) {
    if (header.contains(tensor->name))
      fail("{}: two tensors are named '{}'", path.string(), tensor->name);
    header[tensor->name] = {{"dtype", kSafetensorsDtypes[row].name},
                            {"shape", tensor->value.sizes().vec()},
                            {"data_offsets", {offset, offset + tensor->value.nbytes()}}};
    offset += tensor->value.nbytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the tensors begin aligned

  std::ofstream out(path, std::ios::binary);
  const uint64_t header_bytes = text.size();
  out.write(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes));
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  for (const auto& [row, tensor] : order) {
    const torch::Tensor plain = tensor->value.detach().cpu().contiguous();
    if (!out.write(static_cast<const char*>(plain.data_ptr()),
                   static_cast<std::streamsize>(plain.nbytes())))
      break;
  }
  out.close();
  if (!out)
    fail("{}: cannot write {} bytes: {}", path.string(), 8 + text.size() + offset,
         std::strerror(errno));
}

}  // namespace wf

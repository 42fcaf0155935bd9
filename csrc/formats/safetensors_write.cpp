#include "formats/safetensors_write.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/error.h"

namespace wf {

void write_safetensors(const std::filesystem::path& path,
                       const std::vector<WritableTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const WritableTensor*> order;
  for (const auto& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::tie(a->dtype, a->name) < std::tie(b->dtype, b->name);
  });

  // Ordered: the reference keeps the metadata first and the tensors in the order of their bytes.
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::size_t offset = 0;
  for (const auto* tensor : order) {
    if (header.contains(tensor->name))
      fail("{}: two tensors are named '{}'", path.string(), tensor->name);
    header[tensor->name] = {{"dtype", dtype_name(tensor->dtype)},
                            {"shape", tensor->shape},
                            {"data_offsets", {offset, offset + tensor->bytes()}}};
    offset += tensor->bytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the tensors begin aligned

  std::ofstream out(path, std::ios::binary);
  const uint64_t header_bytes = text.size();
  out.write(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes));
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  for (const auto* tensor : order) {
    const StoredTensor value = tensor->value();
    if (!out.write(reinterpret_cast<const char*>(value.bytes.data()),
                   static_cast<std::streamsize>(value.bytes.size())))
      break;
  }
  out.close();
  if (!out)
    fail("{}: cannot write {} bytes: {}", path.string(), 8 + text.size() + offset,
         std::strerror(errno));
}

}  // namespace wf

// Stored tensors as Torch's, and back.
#pragma once
#include <map>
#include <vector>

#include "formats/hf_folder.h"
#include "formats/safetensors_write.h"
#include "io/named_tensor.h"

namespace wf {

// The same bytes, kept alive by the result, not to be written to: no copy.
torch::Tensor as_torch(const StoredTensor& stored);

// Tensors of any device and layout; at most one is copied to the CPU at any moment. Throws Error
// for an undefined tensor and for a dtype that files do not have.
std::vector<WritableTensor> writable(const std::vector<NamedTensor>& tensors);

inline void write_safetensors(const std::filesystem::path& path,
                              const std::vector<NamedTensor>& tensors) {
  write_safetensors(path, writable(tensors));
}

}  // namespace wf

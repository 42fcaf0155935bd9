#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "io/named_tensor.h"

namespace wf {

// Writes tensors of any device and layout, one at a time: at most one is copied to the CPU at any
// moment. The bytes equal those of the `safetensors` package. Not atomic: callers write into a
// folder that is renamed when complete. `transformers` wants the metadata "format": "pt".
void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace wf
